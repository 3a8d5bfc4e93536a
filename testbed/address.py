"""Addresses for whatever the file leaves open: the same file always gives the same addresses.

* Each link of the core has a /30 of the RLOC space. If there is room, each begins a /24 of its own, so that the third
  byte tells links apart; otherwise they follow one another. The core router has the lower address (between two core
  routers: the first named), the other node the higher one: that is its RLOC.
* A site without EID-prefixes gets the next free /24 of the EID space.
* In a subnet, routers count up from the first address; hosts from the eleventh, or after the routers where a subnet is
  smaller than a /26.

What the file gives is kept, and what is kept is never allotted a second time.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from itertools import chain

from testbed.language.checks import default_roles, is_lisp
from testbed.language.prefixes import Claim, inside, overlaps
from testbed.language.problems import Problems
from testbed.language.shapes import At
from testbed.language.tables import HostRow, RouterRow, SiteRow, TopologyRow

LINK_LENGTH = 30
BLOCK_LENGTH = 24

Ends = tuple[IPv4Interface, IPv4Interface]


@dataclass(slots=True)
class Plan:
    """Every address of a topology.

    Attributes:
        rloc_space: The RLOC space.
        eid_space: The EID space.
        core_links: The ends of each core link, in the file's order.
        uplinks: For (node, core router), the node's end and the core router's.
        eid_prefixes: The EID-prefixes of each LISP site.
        subnets: The subnets of each site.
        routers: The addresses of each site's router towards the hosts.
        hosts: The address of each host.
        gateways: The default gateway of each host that has one.
    """

    rloc_space: tuple[IPv4Network, ...]
    eid_space: tuple[IPv4Network, ...]
    core_links: list[Ends] = field(default_factory=list)
    uplinks: dict[tuple[str, str], Ends] = field(default_factory=dict)
    eid_prefixes: dict[str, tuple[IPv4Network, ...]] = field(default_factory=dict)
    subnets: dict[str, tuple[IPv4Network, ...]] = field(default_factory=dict)
    routers: dict[str, tuple[IPv4Interface, ...]] = field(default_factory=dict)
    hosts: dict[str, IPv4Interface] = field(default_factory=dict)
    gateways: dict[str, IPv4Address] = field(default_factory=dict)


def allot(topology: TopologyRow, problems: Problems) -> Plan:
    """Give every interface its address; what cannot be is noted in ``problems``."""
    space = topology.address_space
    if space is None or space.broken:
        return Plan((), ())
    plan = Plan(tuple(at.value for at in space.rloc), tuple(at.value for at in space.eid))
    taken: dict[IPv4Address, tuple[str, int]] = {}
    _links(topology, plan, taken, problems)
    _prefixes(topology, plan, problems)
    for site in topology.sites:
        # A site with a broken prefix has no subnets to judge its addresses by.
        if not site.broken & {"lisp", "eid_prefixes", "subnets"} and plan.subnets.get(site.name):
            _site(site, plan, taken, problems)
    return plan


def free_subnets(
    spaces: Iterable[IPv4Network], taken: Iterable[IPv4Network], length: int, block: int
) -> Iterator[IPv4Network]:
    """Prefixes of ``length`` bits at the start of each free block of ``block`` bits, lowest first."""
    used = sorted((int(one.network_address), int(one.broadcast_address)) for one in taken)
    starts = [first for first, _ in used]
    size = 1 << (32 - block)
    for space in spaces:
        end = int(space.broadcast_address)
        at = int(space.network_address)
        while at + size - 1 <= end:
            index = bisect_right(starts, at + size - 1) - 1
            if index >= 0 and used[index][1] >= at:
                at = (used[index][1] // size + 1) * size
                continue
            yield IPv4Network((at, length))
            at += size


def _claim(at: At[IPv4Interface], who: str, taken: dict[IPv4Address, tuple[str, int]], problems: Problems) -> None:
    """Keep an address that the file gives."""
    other = taken.setdefault(at.value.ip, (who, at.line))
    if other != (who, at.line):
        what = f"address {at.value.ip} of {who} is taken"
        problems.add(at.line, what, f"allowed is each address once ({other[0]} has it in line {other[1]})")


def _links(topology: TopologyRow, plan: Plan, taken: dict[IPv4Address, tuple[str, int]], problems: Problems) -> None:
    wanted: list[tuple[tuple[str, str] | None, At[IPv4Interface] | None, At[IPv4Interface] | None, str]] = []
    for core_link in topology.core.links:
        if len(core_link.between) == 2:
            lower, upper = core_link.addresses if len(core_link.addresses) == 2 else (None, None)
            wanted.append((None, upper, lower, f"link {core_link.between[0]} - {core_link.between[1]}"))
    for node, _, _ in default_roles(topology):
        wanted += [
            ((node.name, one.name), one.address, one.peer_address, f"{node.name} - {one.name}") for one in node.links
        ]
    claims: list[Claim] = []
    for _, own, peer, who in wanted:
        given = own or peer
        if given is None:
            continue
        if not inside(given.value.network, plan.rloc_space):
            spaces = " or ".join(map(str, plan.rloc_space))
            problems.add(given.line, f"address {given} of {who} is outside the RLOC space", f"allowed is {spaces}")
        before = len(problems)
        for at in (own, peer):
            if at is not None:
                _claim(at, who, taken, problems)
        if len(problems) == before:  # else it is said already
            claims.append(Claim(given.value.network, who, given.line))
    for later, earlier in overlaps(claims):
        what = f"subnet {later.network} of {later.owner} overlaps {earlier.network} of {earlier.owner}"
        problems.add(later.line, what, f"allowed is a subnet of its own for each link (line {earlier.line})")
    taken_subnets = [one.value.network for _, own, peer, _ in wanted if (one := own or peer)]
    line = topology.address_space.line if topology.address_space else 1
    free = _link_subnets(plan.rloc_space, taken_subnets, len(wanted))
    for name, own, peer, _ in wanted:
        given = own or peer
        network = given.value.network if given else next(free, None)
        if network is None:
            what = f"the RLOC space has no room for {len(wanted)} links"
            problems.add(line, what, "allowed is a larger one")
            return
        ends = (own.value if own else _other(network, peer), peer.value if peer else _other(network, own, upper=False))
        if name is None:
            plan.core_links.append((ends[1], ends[0]))
        else:
            plan.uplinks[name] = ends


def _link_subnets(spaces: tuple[IPv4Network, ...], taken: list[IPv4Network], count: int) -> Iterator[IPv4Network]:
    """Free subnets for links, of which there are ``count`` in all, those with a subnet of their own included."""
    blocks = sum(1 << max(BLOCK_LENGTH - space.prefixlen, 0) for space in spaces if space.prefixlen <= BLOCK_LENGTH)
    block = BLOCK_LENGTH if count <= blocks else LINK_LENGTH
    return free_subnets(spaces, taken, LINK_LENGTH, block)


def _other(network: IPv4Network, beside: At[IPv4Interface] | None, *, upper: bool = True) -> IPv4Interface:
    """The address for one end of a link whose other end may be given."""
    skip = 0 if network.prefixlen == 31 else 1
    order = (skip + 1, skip) if upper else (skip, skip + 1)
    free = [network[one] for one in order if beside is None or network[one] != beside.value.ip]
    return IPv4Interface((free[0], network.prefixlen))


def _prefixes(topology: TopologyRow, plan: Plan, problems: Problems) -> None:
    given = [at.value for site in topology.sites for at in (*site.eid_prefixes, *site.subnets)]
    free = free_subnets(plan.eid_space, given, BLOCK_LENGTH, BLOCK_LENGTH)
    for site in topology.sites:
        subnets = tuple(at.value for at in site.subnets)
        if is_lisp(site):
            prefixes = tuple(at.value for at in site.eid_prefixes)
            if not prefixes and not subnets:
                fresh = next(free, None)
                if fresh is None:
                    what = f"the EID space has no /24 left for site {site.name} and those after it"
                    problems.add(site.line, what, "allowed is a larger one, or eid-prefixes")
                    return
                prefixes = (fresh,)
            plan.eid_prefixes[site.name] = prefixes or subnets
            subnets = subnets or prefixes
        plan.subnets[site.name] = subnets


def _site(site: SiteRow, plan: Plan, taken: dict[IPv4Address, tuple[str, int]], problems: Problems) -> None:
    """Addresses inside a site: first what is given, then the rest."""
    subnets = plan.subnets[site.name]
    given: list[tuple[RouterRow | HostRow, At[IPv4Interface]]] = []
    for router in site.routers:
        given += [(router, at) for at in router.address]
    given += [(host, host.address) for host in site.hosts if host.address]
    for owner, at in given:
        _claim(at, f"{owner.KIND} {owner.name}", taken, problems)
        if at.value.network not in subnets:
            listed = ", ".join(map(str, subnets))
            what = f"address {at} of {owner.KIND} {owner.name} is in no subnet of site {site.name}"
            problems.add(at.line, what, f"allowed are addresses in {listed}, with its length")
    used = {at.value.ip for _, at in given}
    _routers(site, subnets, used, plan, problems)
    pool = _pool(subnets[0], used, hosts=True)
    for host in site.hosts:
        if host.address:
            plan.hosts[host.name] = host.address.value
        elif "address" not in host.broken:
            fresh = next(pool, None)
            if fresh is None:
                what = f"subnet {subnets[0]} has no address left for host {host.name}"
                problems.add(host.line, what, "allowed is a larger one, or fewer hosts")
                return
            plan.hosts[host.name] = fresh
        _gateway(site, host, plan, problems)


def _routers(
    site: SiteRow, subnets: tuple[IPv4Network, ...], used: set[IPv4Address], plan: Plan, problems: Problems
) -> None:
    for router in site.routers:
        mine: list[IPv4Interface] = []
        for subnet in subnets:
            there = [at.value for at in router.address if at.value.network == subnet]
            fresh = there[0] if there else next(_pool(subnet, used, hosts=False), None)
            if fresh is None:
                what = f"subnet {subnet} has no address left for router {router.name}"
                problems.add(router.line, what, "allowed is a larger one")
                continue
            used.add(fresh.ip)
            mine.append(fresh)
        plan.routers[router.name] = tuple(mine)


def _gateway(site: SiteRow, host: HostRow, plan: Plan, problems: Problems) -> None:
    address = plan.hosts.get(host.name)
    if address is None:
        return
    near = [
        one.ip for router in site.routers for one in plan.routers.get(router.name, ()) if one.network == address.network
    ]
    if host.gateway is None:
        if near:
            plan.gateways[host.name] = near[0]
        return
    plan.gateways[host.name] = host.gateway.value
    if host.gateway.value not in near and "address" not in host.broken:
        what = f"gateway {host.gateway} of host {host.name} is no router of site {site.name}"
        problems.add(host.gateway.line, what, f"allowed is {' or '.join(map(str, near)) or 'nothing here'}")


def _pool(subnet: IPv4Network, used: set[IPv4Address], *, hosts: bool) -> Iterator[IPv4Interface]:
    """Free addresses of a subnet, in order, without those that stand in ``used``."""
    ends = 0 if subnet.prefixlen >= 31 else 1
    first = 11 if hosts and subnet.prefixlen <= 26 else ends
    # Wrap around: a subnet is full only when every address is in use.
    count = subnet.num_addresses
    for offset in chain(range(first, count - ends), range(ends, min(first, count - ends))):
        address = subnet[offset]
        if address not in used:
            yield IPv4Interface((address, subnet.prefixlen))
