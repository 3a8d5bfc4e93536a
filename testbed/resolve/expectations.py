"""What the topology implies of each ordered pair of hosts, and where the file says otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from nodes.lisp.config import Role
from testbed.address import Plan
from testbed.language.network_tables import FAMILIES
from testbed.language.segments import (
    Segment,
    SegmentKey,
    all_segments,
    default_roles,
    is_lisp,
    locator_versions,
    proxy_reply,
    rloc_versions,
    roles_of,
)
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Expectation, Path


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a site's routers do for its hosts.

    Attributes:
        lisp: Whether the hosts have EIDs.
        sends: It has an ITR.
        receives: It has an ETR.
        uses_petr: Packets for non-LISP sites leave through a PETR elsewhere (RFC 6832 section 6).
        draws: Every PITR is one of its routers: what non-LISP sites send to its hosts needs no tunnel.
        reaches: The IP versions of the RLOCs that its ITRs can send to.
        entered: The IP versions of the RLOCs that others send its packets to: its own, or the first RTR's.
        answers: The IP versions of those who get an answer to a Map-Request for it.
        detour: Whether packets for it pass RTRs.
    """

    lisp: bool
    sends: bool
    receives: bool
    uses_petr: bool
    draws: bool
    reaches: frozenset[int]
    entered: frozenset[int]
    answers: frozenset[int]
    detour: bool


def expectations(topology: TopologyRow, plan: Plan) -> tuple[Expectation, ...]:
    """One for each ordered pair of hosts and IP version; a pair in two instances never meets.

    A pair that gets no answer back is unreachable in both directions.
    """
    places = all_segments(topology)
    hosts = [(name, segment) for segment in places for name in segment.hosts]
    families = {name: {one.version for one in plan.hosts[name]} for name, _ in hosts}
    paths = {version: _paths(topology, places, version in plan.versions) for version in (4, 6)}
    given = dict(_given(topology, [(name, segment.site.name) for name, segment in hosts]))
    return tuple(
        Expectation(a, b, given.get((a, b, version)) or paths[version][here.key, there.key], version, here.instance_id)
        for a, here in hosts
        for b, there in hosts
        if a != b and here.instance_id == there.instance_id
        for version in sorted(families[a] & families[b])
    )


def _given(topology: TopologyRow, hosts: list[tuple[str, str]]) -> Iterator[tuple[tuple[str, str, int], Path]]:
    """What the file says of pairs; where it says several things, the last counts."""
    for row in topology.expect:
        if row.from_ and row.to and row.path:
            path = Path(row.path.value)
            sources = [name for name, site in hosts if row.from_.value in (name, site)]
            destinations = [name for name, site in hosts if row.to.value in (name, site)]
            for version in [FAMILIES[row.version.value]] if row.version else FAMILIES.values():
                yield from (((a, b, version), path) for a in sources for b in destinations)


def _paths(
    topology: TopologyRow, places: list[Segment], crosses_natively: bool
) -> dict[tuple[SegmentKey, SegmentKey], Path]:
    nodes = [(site, roles_of(node, default)) for node, site, default in default_roles(topology)]
    present = frozenset(role for _, roles in nodes for role in roles)
    proxies = [site for site, roles in nodes if Role.PITR in roles]
    sites = {site.name: _abilities(topology, site, present, proxies) for site in topology.sites}
    one_way = {
        (a, b): _one_way(sites[a], sites[b], Role.PITR in present, crosses_natively) for a in sites for b in sites
    }
    found: dict[tuple[SegmentKey, SegmentKey], Path] = {}
    for a in places:
        for b in places:
            there, back = one_way[a.site.name, b.site.name], one_way[b.site.name, a.site.name]
            unreachable = Path.UNREACHABLE in (there, back)
            found[a.key, b.key] = Path.LOCAL if a is b else Path.UNREACHABLE if unreachable else there
    return found


def _abilities(
    topology: TopologyRow, site: SiteRow, present: frozenset[Role], proxies: list[SiteRow | None]
) -> Abilities:
    roles = (
        frozenset(role for router in site.routers for role in roles_of(router, "xtr")) if is_lisp(site) else frozenset()
    )
    wants_petr = site.use_petr is None or site.use_petr.value
    # A site that has a PETR of its own forwards natively there.
    uses_petr = wants_petr and Role.PETR in present and Role.PETR not in roles
    draws = bool(proxies) and all(one is site for one in proxies)
    itrs = [one for one in site.routers if Role.ITR in roles_of(one, "xtr")]
    etrs = [one for one in site.routers if Role.ETR in roles_of(one, "xtr")]
    own = locator_versions(topology, site)
    rtrs = {node.name: node for node, _, _ in default_roles(topology)}
    return Abilities(
        lisp=is_lisp(site),
        sends=Role.ITR in roles,
        receives=Role.ETR in roles,
        uses_petr=uses_petr,
        draws=draws,
        reaches=frozenset(version for one in itrs for version in rloc_versions(topology, one)),
        entered=rloc_versions(topology, rtrs[site.via[0].value]) if site.via else own,
        answers=frozenset((4, 6))
        if proxy_reply(site)
        else frozenset(version for one in etrs for version in rloc_versions(topology, one)),
        detour=bool(site.via),
    )


def _one_way(source: Abilities, destination: Abilities, pitr: bool, crosses_natively: bool) -> Path:
    """How packets get from one site to another.

    Args:
        source: What the sender's site does.
        destination: What the receiver's site does.
        pitr: Whether there is a PITR.
        crosses_natively: Whether the core routes this IP version.
    """
    if source.lisp and destination.lisp:
        reaches = source.reaches & destination.entered and source.reaches & destination.answers
        if not (source.sends and destination.receives and reaches):
            return Path.UNREACHABLE
        # RFC 9300 section 3: an RTR takes off the LISP header and puts on another.
        return Path.REENCAPSULATED if destination.detour else Path.ENCAPSULATED
    if not crosses_natively:
        return Path.UNREACHABLE
    if destination.lisp:
        # RFC 6832 section 5: only a PITR draws packets for EIDs out of the core. It has RLOCs of every IP version.
        if not (pitr and destination.receives):
            return Path.UNREACHABLE
        return Path.NATIVE if destination.draws else Path.PROXIED
    if not source.lisp:
        return Path.NATIVE
    if not source.sends:
        return Path.UNREACHABLE
    # RFC 6832 section 6: through a PETR if the site uses one, else natively.
    return Path.PROXIED if source.uses_petr else Path.NATIVE
