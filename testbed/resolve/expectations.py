"""What the topology implies of each ordered pair of hosts, and where the file says otherwise."""

from __future__ import annotations

from nodes.lisp.config import Role
from testbed.language.checks import default_roles, is_lisp, roles_of
from testbed.language.tables import SiteRow, TopologyRow
from testbed.model import Expectation, Path


def expectations(topology: TopologyRow) -> tuple[Expectation, ...]:
    """One for each ordered pair of hosts. A pair that gets no answer back is unreachable in both directions."""
    hosts = [(host.name, site) for site in topology.sites for host in site.hosts]
    present = frozenset(role for node, _, default in default_roles(topology) for role in roles_of(node, default))
    between = {
        (a.name, b.name): _path(a, b, present) if a is not b else Path.LOCAL
        for a in topology.sites
        for b in topology.sites
    }
    given: dict[tuple[str, str], Path] = {}
    for row in topology.expect:
        if row.from_ and row.to and row.path:
            for a, site_a in hosts:
                for b, site_b in hosts:
                    if row.from_.value in (a, site_a.name) and row.to.value in (b, site_b.name):
                        given[a, b] = Path(row.path.value)
    return tuple(
        Expectation(a, b, given.get((a, b)) or between[site_a.name, site_b.name])
        for a, site_a in hosts
        for b, site_b in hosts
        if a != b
    )


def _path(source: SiteRow, destination: SiteRow, present: frozenset[Role]) -> Path:
    """How packets get from one site to another, provided that the answer comes back."""
    there, back = _one_way(source, destination, present), _one_way(destination, source, present)
    return Path.UNREACHABLE if Path.UNREACHABLE in (there, back) else there


def _one_way(source: SiteRow, destination: SiteRow, present: frozenset[Role]) -> Path:
    if is_lisp(destination):
        if not _has(destination, Role.ETR):
            return Path.UNREACHABLE
        if is_lisp(source):
            return Path.ENCAPSULATED if _has(source, Role.ITR) else Path.UNREACHABLE
        # RFC 6832 section 5: only a PITR draws packets for EIDs out of the core.
        return Path.PROXIED if Role.PITR in present else Path.UNREACHABLE
    if not is_lisp(source):
        return Path.NATIVE
    if not _has(source, Role.ITR):
        return Path.UNREACHABLE
    # RFC 6832 section 6: through a PETR if the site uses one and has none of its own, else natively.
    uses = (source.use_petr is None or source.use_petr.value) and not _has(source, Role.PETR)
    return Path.PROXIED if uses and Role.PETR in present else Path.NATIVE


def _has(site: SiteRow, role: Role) -> bool:
    return any(role in roles_of(router, "xtr") for router in site.routers)
