"""Addresses of the RLOC space: the core's links and the core routers' loopbacks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_interface

from nodes.lisp.eid import IPAddress, IPNetwork
from testbed.address.plan import Addresses, Plan, free_subnets, of_version
from testbed.language.prefixes import Claim, inside, overlaps
from testbed.language.problems import Problems
from testbed.language.segments import default_roles, rloc_versions
from testbed.language.shapes import At
from testbed.language.tables import TopologyRow
from testbed.model import IPInterface, Routing

_BLOCK = {4: 24, 6: 64}
_DENSE = {4: 30, 6: 126}
_LENGTH = {4: 30, 6: 64}
_ROOMY = {4: 20, 6: 60}
"""Spaces at least this large have a whole block for loopbacks."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A link that needs a subnet of each of its IP versions.

    Attributes:
        name: (node, link), or None between core routers.
        upper: What the file gives of the end with the higher address, and ``lower`` of the other.
        who: The link, in words.
        versions: Its IP versions.
    """

    name: tuple[str, str] | None
    upper: tuple[At[IPInterface], ...]
    lower: tuple[At[IPInterface], ...]
    who: str
    versions: frozenset[int]

    def given(self, version: int) -> tuple[At[IPInterface] | None, At[IPInterface] | None]:
        """The ends that the file gives of one IP version, the upper one first."""
        upper, lower = (
            next((at for at in end if at.value.version == version), None) for end in (self.upper, self.lower)
        )
        return upper, lower


def allot_loopbacks(topology: TopologyRow, plan: Plan, problems: Problems) -> None:
    """Give core routers that route by OSPF and BGP their loopback addresses."""
    for router in topology.core.routers:
        for at in router.loopback:
            interface = At(ip_interface(at.value), at.line)
            if not inside(interface.value.network, plan.rloc_space):
                spaces = " or ".join(map(str, plan.rloc_space))
                what = f"loopback {at} of core router {router.name} is outside the RLOC space"
                problems.add(at.line, what, f"allowed is {spaces}")
            plan.claims.give(interface, f"the loopback of core router {router.name}", problems)
    if topology.routing is None or topology.routing.value != Routing.OSPF_BGP:
        return
    blocks = {version: loopback_block(plan, version, len(topology.core.routers)) for version in plan.versions}
    for number, router in enumerate(topology.core.routers, 1):
        given: dict[int, IPAddress] = {at.value.version: at.value for at in router.loopback}
        mine = []
        for version in plan.versions:
            block = blocks[version]
            if version not in given and number >= block.num_addresses:
                line = topology.address_space.line if topology.address_space else 1
                problems.add(line, f"the RLOC space has no room for loopbacks in {block}", "allowed is a larger one")
                return
            mine.append(given.get(version) or block[number])
        plan.loopbacks[router.name] = tuple(mine)


def loopback_block(plan: Plan, version: int, count: int) -> IPNetwork:
    """The last block of the RLOC space of one IP version, with room for ``count`` loopbacks."""
    space = of_version(plan.rloc_space, version)[-1]
    needed = space.max_prefixlen - (count + 1).bit_length()
    length = min(needed, _BLOCK[version]) if space.prefixlen <= _ROOMY[version] else needed
    size = 1 << (space.max_prefixlen - max(length, space.prefixlen))
    return type(space)((int(space.broadcast_address) - size + 1, max(length, space.prefixlen)))


def allot_links(topology: TopologyRow, plan: Plan, problems: Problems) -> None:
    """Give both ends of every link of the core their addresses."""
    wanted = list(_wanted(topology, plan))
    _claim(wanted, plan, problems)
    ends: dict[int, dict[int, tuple[IPInterface, IPInterface]]] = {}
    for version in plan.versions:
        mine = {number: one for number, one in enumerate(wanted) if version in one.versions}
        allotted = _subnets(topology, list(mine.values()), plan, version)
        if len(allotted) < len(mine):
            line = topology.address_space.line if topology.address_space else 1
            problems.add(line, f"the RLOC space has no room for {len(wanted)} links", "allowed is a larger one")
            return
        ends[version] = dict(zip(mine, allotted, strict=True))
    for number, one in enumerate(wanted):
        versions = [version for version in plan.versions if version in one.versions]
        upper: Addresses = tuple(ends[version][number][0] for version in versions)
        lower: Addresses = tuple(ends[version][number][1] for version in versions)
        if one.name is None:
            plan.core_links.append((lower, upper))
        else:
            plan.uplinks[one.name] = (upper, lower)


def _wanted(topology: TopologyRow, plan: Plan) -> Iterator[Wanted]:
    for core_link in topology.core.links:
        if len(core_link.between) == 2:
            who = f"link {core_link.between[0]} - {core_link.between[1]}"
            addresses = core_link.addresses
            yield Wanted(None, addresses[1::2], addresses[::2], who, frozenset(plan.versions))
    for node, _, _ in default_roles(topology):
        for link in node.links:
            who = f"{node.name} - {link.name}"
            versions = rloc_versions(topology, node)
            yield Wanted((node.name, link.name), link.address, link.peer_address, who, versions)


def _claim(wanted: Sequence[Wanted], plan: Plan, problems: Problems) -> None:
    """Keep the addresses that the file gives; each link has a subnet of its own."""
    claims: list[Claim] = []
    for one in wanted:
        for version in (4, 6):
            ends = [at for at in one.given(version) if at is not None]
            if not ends:
                continue
            given = ends[0]
            if not inside(given.value.network, plan.rloc_space):
                spaces = " or ".join(map(str, plan.rloc_space))
                what = f"address {given} of {one.who} is outside the RLOC space"
                problems.add(given.line, what, f"allowed is {spaces}")
            before = len(problems)
            for at in ends:
                plan.claims.give(at, one.who, problems)
            if len(problems) == before:  # else it is said already
                claims.append(Claim(given.value.network, one.who, given.line))
    for later, earlier in overlaps(claims):
        what = f"subnet {later.network} of {later.owner} overlaps {earlier.network} of {earlier.owner}"
        problems.add(later.line, what, f"allowed is a subnet of its own for each link (line {earlier.line})")


def _subnets(
    topology: TopologyRow, wanted: Sequence[Wanted], plan: Plan, version: int
) -> list[tuple[IPInterface, IPInterface]]:
    """The ends of each link in one IP version, the upper one first; fewer than wanted if the space is too small."""
    spaces = of_version(plan.rloc_space, version)
    taken = [at.value.network for one in wanted for at in one.given(version) if at is not None]
    loopbacks = [one for mine in plan.loopbacks.values() for one in mine if one.version == version]
    if loopbacks:
        taken.append(loopback_block(plan, version, len(topology.core.routers)))
    block = _BLOCK[version]
    blocks = sum(1 << (block - space.prefixlen) for space in spaces if space.prefixlen <= block)
    if len(wanted) + bool(loopbacks) > blocks:
        block = _DENSE[version]
    free = free_subnets(spaces, taken, max(_LENGTH[version], block), block)
    found: list[tuple[IPInterface, IPInterface]] = []
    for one in wanted:
        upper, lower = one.given(version)
        given = upper or lower
        network = given.value.network if given else next(free, None)
        if network is None:
            break
        found.append(
            (
                upper.value if upper else _other(network, lower, upper=True),
                lower.value if lower else _other(network, upper, upper=False),
            )
        )
    return found


def _other(network: IPNetwork, beside: At[IPInterface] | None, *, upper: bool) -> IPInterface:
    """The address for one end of a link whose other end may be given."""
    skip = 0 if network.max_prefixlen - network.prefixlen == 1 else 1
    order = (skip + 1, skip) if upper else (skip, skip + 1)
    free = [network[one] for one in order if beside is None or network[one] != beside.value.ip]
    return ip_interface((free[0], network.prefixlen))
