"""The core hangs together, and every link leads to it."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

from nodes.lisp.config import Role
from testbed.language.network_tables import CableRow, CoreLinkRow
from testbed.language.problems import Problems
from testbed.language.segments import default_roles, is_lisp, roles_of
from testbed.language.shapes import At
from testbed.language.tables import TopologyRow
from testbed.model import IPInterface, Routing
from testbed.words import one_of

MAX_PARALLEL = 9
"""Links between the same two nodes: their interfaces are told apart by one digit ("core1-2")."""

CORE_ASN = 65000
"""The core's AS number unless the file gives one."""

_LEAST_MTU = {4: 576, 6: 1280}
_OVERHEAD = {4: 36, 6: 56}


def check_core(topology: TopologyRow, problems: Problems) -> None:
    """Core links join core routers, and all of them to one core."""
    core = topology.core
    names = [router.name for router in core.routers]
    beside: dict[str, set[str]] = defaultdict(set)
    between: Counter[frozenset[str]] = Counter()
    for link in core.links:
        for end in link.between:
            if end.value not in names and "routers" not in core.broken:
                problems.add(end.line, f"core link to '{end}', which is no core router", one_of(names, end.value))
        if len(link.between) != 2:
            continue
        a, b = (end.value for end in link.between)
        if a == b:
            problems.add(link.line, f"core link from {a} to itself", "allowed are two different core routers")
        between[frozenset((a, b))] += 1
        _count_parallel(between[frozenset((a, b))], a, b, link.line, problems)
        beside[a].add(b)
        beside[b].add(a)
        _core_link_addresses(link, problems)
        _mtu(link, "core link", topology, problems)
    for router in core.routers:
        one_per_version("loopback", f"core router {router.name}", router.loopback, problems)
        if router.loopback and "routing" not in topology.broken and not _dynamic_routing(topology):
            what = f"loopback of core router {router.name} with static routing"
            problems.add(router.loopback[0].line, what, "allowed is one with routing: ospf-bgp")
    _as_numbers(topology, problems)
    if core.broken or not names or any(end.value not in names for link in core.links for end in link.between):
        return
    reached, waiting = {names[0]}, [names[0]]
    while waiting:
        new = beside[waiting.pop()] - reached
        reached |= new
        waiting += new
    for router in core.routers:
        if router.name not in reached:
            what = f"core router {router.name} is cut off from {names[0]}"
            problems.add(router.line, what, "allowed is a core in which links join all routers")


def check_links(topology: TopologyRow, problems: Problems) -> None:
    """Links lead to core routers, and say of RLOCs only what they can be told."""
    core = topology.core
    names = [router.name for router in core.routers]
    for node, site, default in default_roles(topology):
        beside: Counter[str] = Counter()
        for link in node.links:
            where = f"{node.KIND} {node.name}: link to '{link.router}', which is no core router"
            if link.router not in names and names and not {"routers"} & core.broken and "to" not in link.broken:
                problems.add(link.to.line if link.to else link.line, where, one_of(names, link.router))
            beside[link.router] += 1
            _count_parallel(beside[link.router], node.name, link.router, link.line, problems)
            label = f"link to {link.name} of {node.name}"
            one_per_version("address", label, link.address, problems)
            one_per_version("peer-address", label, link.peer_address, problems)
            for at in link.address:
                for peer in link.peer_address:
                    _same_subnet(f"link to {link.name}", at, peer, problems)
            _mtu(link, label, topology, problems)
            for key, value in (("priority", link.priority), ("weight", link.weight)):
                if value and "roles" not in node.broken and not (site and Role.ETR in roles_of(node, default)):
                    what = f"{key} of the link of {node.name}, which is no ETR of a site"
                    problems.add(value.line, what, "allowed is a priority or weight where a site receives")


def _dynamic_routing(topology: TopologyRow) -> bool:
    return topology.routing is not None and topology.routing.value == Routing.OSPF_BGP


def _as_numbers(topology: TopologyRow, problems: Problems) -> None:
    """AS numbers stand where BGP is spoken; that of the core is the core's alone."""
    if "routing" in topology.broken:
        return
    given = [("the core", topology.core.asn, True)]
    for node, site, default in default_roles(topology):
        speaks = Role.PITR in roles_of(node, default) or (site is not None and not is_lisp(site))
        given.append((f"{node.KIND} {node.name}", node.asn, speaks))
    core = topology.core.asn.value if topology.core.asn else CORE_ASN
    for owner, at, speaks in given:
        if at is None:
            continue
        if not _dynamic_routing(topology):
            problems.add(at.line, f"asn of {owner} with static routing", "allowed is one with routing: ospf-bgp")
        elif not speaks:
            what = f"asn of {owner}, which speaks no BGP"
            problems.add(at.line, what, "allowed is one of a PITR or of the edge of a non-LISP site")
        elif owner != "the core" and at.value == core:
            problems.add(
                at.line, f"asn {at} of {owner} is the core's", "allowed is another: between them BGP is external"
            )


def _count_parallel(count: int, a: str, b: str, line: int, problems: Problems) -> None:
    if count == MAX_PARALLEL + 1:
        problems.add(line, f"more than {MAX_PARALLEL} links between {a} and {b}", f"allowed are {MAX_PARALLEL}")


def one_per_version(key: str, label: str, given: Sequence[At[Any]], problems: Problems) -> None:
    """Of several addresses, each is of another IP version."""
    seen: set[int] = set()
    for at in given:
        if at.value.version in seen:
            what = f"{key} of {label}: a second IPv{at.value.version} address {at}"
            problems.add(at.line, what, "allowed is one of each IP version")
        seen.add(at.value.version)


def _core_link_addresses(link: CoreLinkRow, problems: Problems) -> None:
    given = link.addresses
    if len(given) not in (0, 2, 4):
        what = f"addresses of core link: has {len(given)} value{'s' if len(given) > 1 else ''}"
        problems.add(given[0].line, what, "allowed are 2 for each IP version, in the order of between")
        return
    one_per_version("addresses", "core link", given[::2], problems)
    for one, other in zip(given[::2], given[1::2], strict=True):
        if one.value.version != other.value.version:
            what = f"core link: {one} and {other} are of two IP versions"
            problems.add(other.line, what, "allowed are pairs of one IP version, in the order of between")
        else:
            _same_subnet("core link", one, other, problems)


def _same_subnet(what: str, a: At[IPInterface], b: At[IPInterface], problems: Problems) -> None:
    """The addresses of one link differ and share a subnet."""
    if a.value.version != b.value.version:
        return
    if a.value.network != b.value.network:
        allowed = f"allowed are addresses of one subnet, such as {a.value.network}"
        problems.add(b.line, f"{what}: {a} and {b} are in different subnets", allowed)
    elif a.value.ip == b.value.ip:
        problems.add(b.line, f"{what}: both ends have the address {a.value.ip}", "allowed are two different addresses")


def _mtu(cable: CableRow, label: str, topology: TopologyRow, problems: Problems) -> None:
    """IPv6 needs 1280 bytes (RFC 8200 section 5), also inside a LISP header (RFC 9300 section 7)."""
    space = topology.address_space
    if cable.mtu is None or space is None or space.broken:
        return
    outer = {one.value.version for one in space.rloc}
    inner = {one.value.version for one in space.eid}
    least = max([_LEAST_MTU[one] for one in outer] + [_LEAST_MTU[one] + _OVERHEAD[max(outer)] for one in inner])
    if cable.mtu.value < least:
        what = f"mtu of {label}: {cable.mtu} bytes are too few"
        problems.add(cable.mtu.line, what, f"allowed are {least} or more: the least that IP needs, and the LISP header")
