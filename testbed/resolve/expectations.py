"""What the topology implies of each ordered pair of hosts, and where the file says otherwise."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.config import Role
from testbed.language.checks import default_roles, is_lisp, roles_of
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
    """

    lisp: bool
    sends: bool
    receives: bool
    uses_petr: bool


def expectations(topology: TopologyRow) -> tuple[Expectation, ...]:
    """One for each ordered pair of hosts. A pair that gets no answer back is unreachable in both directions."""
    hosts = [(host.name, site.name) for site in topology.sites for host in site.hosts]
    present = frozenset(role for node, _, default in default_roles(topology) for role in roles_of(node, default))
    sites = {site.name: _abilities(site, present) for site in topology.sites}
    one_way = {
        (a, b): Path.LOCAL if a == b else _one_way(sites[a], sites[b], Role.PITR in present)
        for a in sites
        for b in sites
    }
    given: dict[tuple[str, str], Path] = {}
    for row in topology.expect:
        if row.from_ and row.to and row.path:
            for a, site_a in hosts:
                for b, site_b in hosts:
                    if row.from_.value in (a, site_a) and row.to.value in (b, site_b):
                        given[a, b] = Path(row.path.value)

    def path(a: str, b: str) -> Path:
        return Path.UNREACHABLE if one_way[b, a] is Path.UNREACHABLE else one_way[a, b]

    return tuple(
        Expectation(a, b, given.get((a, b)) or path(site_a, site_b))
        for a, site_a in hosts
        for b, site_b in hosts
        if a != b
    )


def _abilities(site: SiteRow, present: frozenset[Role]) -> Abilities:
    roles = (
        frozenset(role for router in site.routers for role in roles_of(router, "xtr")) if is_lisp(site) else frozenset()
    )
    wants_petr = site.use_petr is None or site.use_petr.value
    # A site that has a PETR of its own forwards natively there.
    uses_petr = wants_petr and Role.PETR in present and Role.PETR not in roles
    return Abilities(is_lisp(site), Role.ITR in roles, Role.ETR in roles, uses_petr)


def _one_way(source: Abilities, destination: Abilities, pitr: bool) -> Path:
    if destination.lisp:
        if not destination.receives:
            return Path.UNREACHABLE
        if source.lisp:
            return Path.ENCAPSULATED if source.sends else Path.UNREACHABLE
        # RFC 6832 section 5: only a PITR draws packets for EIDs out of the core.
        return Path.PROXIED if pitr else Path.UNREACHABLE
    if not source.lisp:
        return Path.NATIVE
    if not source.sends:
        return Path.UNREACHABLE
    # RFC 6832 section 6: through a PETR if the site uses one, else natively.
    return Path.PROXIED if source.uses_petr else Path.NATIVE
