"""What a topology file may not say although every single value in it is well formed.

Each check looks at what was read; where a mistake was found already, nothing is said of what is missing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from nodes.lisp.config import ROLE_SETS, Role
from testbed.language.prefixes import Claim, inside, overlaps
from testbed.language.problems import Problems, counted, one_of
from testbed.language.shapes import At
from testbed.language.tables import AddressSpaceRow, HostRow, NodeRow, SiteRow, TopologyRow

MAX_PARALLEL = 9
"""Links between the same two core routers: their interfaces are told apart by one digit ("core1-2")."""


def roles_of(node: NodeRow, default: str = "") -> frozenset[Role]:
    """The roles of a node; ``default`` stands for those that are left out."""
    names = [role.value for role in node.roles] or ([default] if default else [])
    return frozenset(role for name in names for role in ROLE_SETS[name])


def default_roles(topology: TopologyRow) -> Iterator[tuple[NodeRow, SiteRow | None, str]]:
    """Every node with core links, its site if it has one, and the roles it has unless the file names them."""
    for node in topology.mapping_system:
        yield node, None, "msmr"
    for node in topology.proxies:
        yield node, None, "pxtr"
    for site in topology.sites:
        for router in site.routers:
            yield router, site, "xtr" if is_lisp(site) else ""


def is_lisp(site: SiteRow) -> bool:
    """Whether the hosts of a site have EIDs."""
    return site.lisp is None or site.lisp.value


def check(topology: TopologyRow, problems: Problems) -> None:
    """Note every contradiction in ``topology``."""
    _names(topology, problems)
    _macs(topology, problems)
    _spaces(topology, problems)
    _core(topology, problems)
    _links(topology, problems)
    for site in topology.sites:
        if "lisp" not in site.broken:
            _site(site, problems)
    _roles(topology, problems)
    _expectations(topology, problems)


def _names(topology: TopologyRow, problems: Problems) -> None:
    seen: dict[str, tuple[str, int]] = {}

    def take(kind: str, name: str, line: int) -> None:
        if name in seen:
            other, first = seen[name]
            allowed = f"allowed are names of their own ({other} {name} is in line {first})"
            problems.add(line, f"{kind} {name}: the name is taken", allowed)
        seen.setdefault(name, (kind, line))

    for core_router in topology.core.routers:
        take("core router", core_router.name, core_router.line)
    for node in (*topology.mapping_system, *topology.proxies):
        take("node", node.name, node.line)
    for site in topology.sites:
        if site.name == "core":
            problems.add(site.line, "site core: the name is taken", "allowed is any other name")
        take("site", site.name, site.line)
        for router in site.routers:
            take("router", router.name, router.line)
        if site.fabric:
            take("fabric", site.fabric.value, site.fabric.line)
        for host in site.hosts:
            take("host", host.name, host.line)


def _macs(topology: TopologyRow, problems: Problems) -> None:
    seen: dict[str, HostRow] = {}
    for site in topology.sites:
        for host in site.hosts:
            if host.mac:
                other = seen.setdefault(host.mac.value, host)
                if other is not host:
                    what = f"MAC address {host.mac} of host {host.name} is taken"
                    problems.add(host.mac.line, what, f"allowed is each once (host {other.name} has it)")


def _spaces(topology: TopologyRow, problems: Problems) -> None:
    space = topology.address_space
    if space is None:
        return
    rlocs = [Claim(at.value, "the RLOC space", at.line) for at in space.rloc]
    eids = [Claim(at.value, "the EID space", at.line) for at in space.eid]
    for later, earlier in overlaps([*rlocs, *eids]):
        what = f"{later.owner} {later.network} overlaps {earlier.owner} {earlier.network}"
        problems.add(later.line, what, f"allowed are prefixes of their own (line {earlier.line})")
    claims: list[Claim] = []
    for site in topology.sites:
        if "lisp" in site.broken:
            continue
        owner = f"site {site.name}"
        prefixes = (site.eid_prefixes or site.subnets) if is_lisp(site) else site.subnets
        for at in prefixes:
            if _placed(at, site, space, problems):
                claims.append(Claim(at.value, owner, at.line))
    for later, earlier in overlaps(claims):
        what = f"prefix {later.network} of {later.owner} overlaps {earlier.network} of {earlier.owner}"
        problems.add(later.line, what, f"allowed are prefixes that share no address (line {earlier.line})")


def _placed(at: At, site: SiteRow, space: AddressSpaceRow, problems: Problems) -> bool:  # type: ignore[type-arg]
    """Whether a site's prefix lies in the space it belongs to."""
    what = f"EID-prefix {at} of site {site.name}" if is_lisp(site) else f"subnet {at} of site {site.name}"
    eid = " or ".join(str(one) for one in space.eid)
    for rloc in space.rloc:
        if rloc.value.overlaps(at.value):
            allowed = f"allowed are prefixes inside {eid}" if is_lisp(site) else "allowed are prefixes outside it"
            problems.add(at.line, f"{what} lies in the RLOC space {rloc}", allowed)
            return False
    if "eid" in space.broken or not space.eid:
        return True
    if is_lisp(site) and not inside(at.value, [one.value for one in space.eid]):
        problems.add(at.line, f"{what} is outside the EID space", f"allowed are prefixes inside {eid}")
        return False
    if not is_lisp(site) and any(one.value.overlaps(at.value) for one in space.eid):
        problems.add(at.line, f"{what} lies in the EID space {eid}", "allowed are prefixes outside it")
        return False
    return True


def _core(topology: TopologyRow, problems: Problems) -> None:
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
        if between[frozenset((a, b))] == MAX_PARALLEL + 1:
            what = f"more than {MAX_PARALLEL} links between {a} and {b}"
            problems.add(link.line, what, f"allowed are {MAX_PARALLEL}")
        beside[a].add(b)
        beside[b].add(a)
        _same_subnet("core link", [(f"'{at}'", at) for at in link.addresses], problems)
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


def _links(topology: TopologyRow, problems: Problems) -> None:
    core = topology.core
    names = [router.name for router in core.routers]
    for node, site, default in default_roles(topology):
        for link in node.links:
            if link.name not in names and names and "routers" not in core.broken:
                what = f"{node.KIND} {node.name}: link to '{link.name}', which is no core router"
                problems.add(link.line, what, one_of(names, link.name))
            given = [("address", link.address), ("peer-address", link.peer_address)]
            _same_subnet(f"link to {link.name}", [(name, at) for name, at in given if at is not None], problems)
            for key, value in (("priority", link.priority), ("weight", link.weight)):
                if value and "roles" not in node.broken and not (site and Role.ETR in roles_of(node, default)):
                    what = f"{key} of the link of {node.name}, which is no ETR of a site"
                    problems.add(value.line, what, "allowed is a priority or weight where a site receives")


def _same_subnet(what: str, ends: list[tuple[str, At]], problems: Problems) -> None:  # type: ignore[type-arg]
    """The addresses of one link differ and share a subnet."""
    if len(ends) != 2:
        return
    (_, a), (_, b) = ends
    if a.value.network != b.value.network:
        allowed = f"allowed are addresses of one subnet, such as {a.value.network}"
        problems.add(b.line, f"{what}: {a} and {b} are in different subnets", allowed)
    elif a.value.ip == b.value.ip:
        problems.add(b.line, f"{what}: both ends have the address {a.value.ip}", "allowed are two different addresses")


def _site(site: SiteRow, problems: Problems) -> None:
    name, lisp = f"site {site.name}", is_lisp(site)
    if lisp:
        if site.key is None and "key" not in site.broken:
            problems.add(
                site.line, f"{name} has no key", "needed: the secret shared with the Map-Servers, or lisp: false"
            )
        if site.routers and not any(
            "roles" in one.broken or roles_of(one, "xtr") & {Role.ITR, Role.ETR} for one in site.routers
        ):
            problems.add(
                site.line, f"{name} has no xTR", "needed: a router with the role xtr, itr or etr, or lisp: false"
            )
        for subnet in site.subnets:
            prefixes = [one.value for one in site.eid_prefixes]
            if prefixes and "eid_prefixes" not in site.broken and not inside(subnet.value, prefixes):
                listed = ", ".join(map(str, prefixes))
                problems.add(subnet.line, f"subnet {subnet} of {name} has no EIDs", f"allowed are subnets of {listed}")
        claims = [Claim(one.value, name, one.line) for one in site.subnets]
        for later, earlier in overlaps(claims):
            what = f"subnet {later.network} of {name} overlaps {earlier.network}"
            problems.add(later.line, what, f"allowed are subnets that share no address (line {earlier.line})")
    else:
        _plain_site(site, name, problems)
    ports = max(len(site.routers), len(site.hosts))
    if ports > 1 and site.fabric is None and not site.broken & {"fabric", "routers", "hosts"}:
        what = f"{name} has {counted(len(site.routers), 'router')}, {counted(len(site.hosts), 'host')} and no fabric"
        problems.add(site.line, what, "allowed without a fabric are one host and one router")


def _plain_site(site: SiteRow, name: str, problems: Problems) -> None:
    """A non-LISP site holds nothing of LISP."""
    if not site.subnets and "subnets" not in site.broken:
        problems.add(site.line, f"{name} has no subnets", "needed: the subnets of its hosts, such as 203.0.113.0/24")
    line = {
        "eid-prefixes": site.eid_prefixes[0].line if site.eid_prefixes else 0,
        "key": site.key.line if site.key else 0,
        "proxy-reply": site.proxy_reply.line if site.proxy_reply else 0,
        "use-petr": site.use_petr.line if site.use_petr else 0,
        "accept-more-specifics": site.accept_more_specifics.line if site.accept_more_specifics else 0,
        "ttl-minutes": site.ttl_minutes.line if site.ttl_minutes else 0,
    }
    for key, at in line.items():
        if at:
            problems.add(
                at, f"{key} of {name}, which is no LISP site", "allowed are subnets, routers, fabric and hosts"
            )
    for router in site.routers:
        if router.roles:
            what = f"roles of router {router.name} in {name}, which is no LISP site"
            problems.add(router.roles[0].line, what, "allowed are a router without roles, or a LISP site")


def _roles(topology: TopologyRow, problems: Problems) -> None:
    """Who registers needs a Map-Server, who asks needs a Map-Resolver, and only sites have EIDs to tunnel for."""
    nodes = list(default_roles(topology))
    present = {role for node, _, default in nodes for role in roles_of(node, default)}
    for node, site, default in nodes:
        roles = roles_of(node, default)
        if site is None and roles & {Role.ITR, Role.ETR}:
            tunnel = next((one for one in node.roles if set(ROLE_SETS[one.value]) & {Role.ITR, Role.ETR}), None)
            if tunnel:
                allowed = [name for name, named in ROLE_SETS.items() if not set(named) & {Role.ITR, Role.ETR}]
                problems.add(
                    tunnel.line, f"role {tunnel} of node {node.name}, which stands in no site", one_of(allowed)
                )
    # A misspelt role or a broken section may be the very node that is missed.
    unsure = "mapping_system" in topology.broken or ("sites" in topology.broken and not topology.mapping_system)
    if unsure or any("roles" in node.broken for node, _, _ in nodes):
        return
    line = topology.mapping_system[0].line if topology.mapping_system else topology.line
    hint = "with the role {0} or msmr, under mapping-system or in a site"
    if Role.ETR in present and Role.MAP_SERVER not in present:
        problems.add(line, "no map-server, but sites that register", f"needed: a node {hint.format('map-server')}")
    if present & {Role.ITR, Role.PITR} and Role.MAP_RESOLVER not in present:
        problems.add(line, "no map-resolver, but nodes that ask", f"needed: a node {hint.format('map-resolver')}")


def _expectations(topology: TopologyRow, problems: Problems) -> None:
    hosts = {host.name for site in topology.sites for host in site.hosts}
    known = [*hosts, *(site.name for site in topology.sites)]
    if "sites" in topology.broken:
        return
    for row in topology.expect:
        for end in (row.from_, row.to):
            if end is not None and end.value not in known:
                problems.add(
                    end.line, f"expectation for '{end}', which is no host or site", one_of(sorted(known), end.value)
                )
