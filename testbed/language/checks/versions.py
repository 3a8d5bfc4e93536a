"""Nodes speak to each other in an IP version that both have, and so do the RTRs of a path."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from nodes.lisp.config import Role
from testbed.language.network_tables import FAMILIES, NodeRow
from testbed.language.problems import Problems
from testbed.language.segments import default_roles, is_lisp, locator_versions, rloc_versions, roles_of
from testbed.language.shapes import At
from testbed.language.tables import SiteRow, TopologyRow

_NAMES = {number: name for name, number in FAMILIES.items()}


def check_versions(topology: TopologyRow, problems: Problems) -> None:
    """The IP versions of RLOCs are some of the RLOC space, and let everybody who has to reach whom he has to."""
    space = topology.address_space
    if space is None or space.broken:
        return
    of_space: set[int] = {at.value.version for at in space.rloc}
    for node, site, default in default_roles(topology):
        _node(node, site, default, of_space, problems)
    if problems:  # who speaks to whom follows from roles and names that have to be right
        return
    nodes = {node.name: node for node, _, _ in default_roles(topology)}
    having = {
        role: [node.name for node, _, default in default_roles(topology) if role in roles_of(node, default)]
        for role in Role
    }

    def versions(name: str) -> frozenset[int]:
        return rloc_versions(topology, nodes[name])

    def reach(node: NodeRow, role: Role, chosen: Sequence[At[str]]) -> None:
        names = [at.value for at in chosen] or having[role]
        if names and not any(versions(node.name) & versions(name) for name in names):
            what = f"{node.KIND} {node.name} ({_words(versions(node.name))}) reaches no {role}"
            others = ", ".join(f"{name} ({_words(versions(name))})" for name in names)
            problems.add(node.line, what, f"needed: one that has an IP version in common with it; there is {others}")

    for node, site, default in default_roles(topology):
        roles = roles_of(node, default)
        if roles & {Role.ITR, Role.PITR, Role.RTR}:
            reach(node, Role.MAP_RESOLVER, node.map_resolvers or (site.map_resolvers if site else ()))
        if site is not None and is_lisp(site) and Role.ETR in roles:
            reach(node, Role.MAP_SERVER, site.map_servers)
        if Role.MAP_RESOLVER in roles:
            for one in topology.sites:
                if is_lisp(one):
                    reach(node, Role.MAP_SERVER, one.map_servers)
    for site in topology.sites:
        _once(f"locators of site {site.name}", site.locators, problems)
        if site.via and _has_locators(topology, site, problems):
            _path(topology, site, {name: versions(name) for name in having[Role.RTR]}, problems)


def _node(node: NodeRow, site: SiteRow | None, default: str, of_space: set[int], problems: Problems) -> None:
    """What one node says of its IP versions."""
    owner = f"{node.KIND} {node.name}"
    if not node.versions:
        return
    if site is not None and not is_lisp(site):
        problems.add(node.versions[0].line, f"versions of {owner}, which is no LISP node", "allowed are those of one")
    elif "roles" not in node.broken and roles_of(node, default) & {Role.PITR, Role.PETR}:
        what = f"versions of {owner}, which is a proxy"
        problems.add(node.versions[0].line, what, "allowed are versions of an xTR, an RTR or the mapping system")
    _once(f"versions of {owner}", node.versions, problems)
    for at in node.versions:
        if FAMILIES[at.value] not in of_space:
            allowed = f"allowed is {_words(of_space)}"
            problems.add(at.line, f"versions of {owner}: the RLOC space has no {at} prefix", allowed)
    mine = {FAMILIES[at.value] for at in node.versions}
    for link in node.links:
        for key, given in (("address", link.address), ("peer-address", link.peer_address)):
            for address in given:
                if address.value.version not in mine:
                    what = f"{key} {address} of link to {link.name} of {node.name}, whose versions leave it out"
                    problems.add(address.line, what, f"allowed is {_words(mine)}")


def _once(owner: str, given: Sequence[At[str]], problems: Problems) -> None:
    for number, at in enumerate(given):
        if at.value in [one.value for one in given[:number]]:
            problems.add(at.line, f"{owner}: '{at}' comes twice", "allowed is each IP version once")


def _has_locators(topology: TopologyRow, site: SiteRow, problems: Problems) -> bool:
    """Whether there is an RLOC that the last RTR of a site's path may send to."""
    etrs = [one for one in site.routers if Role.ETR in roles_of(one, "xtr")]
    if not etrs:
        what = f"via of site {site.name}, which has no ETR"
        problems.add(site.via[0].line, what, "allowed is via of a site with an ETR, to which the last RTR sends")
        return False
    if not locator_versions(topology, site):
        listed = " and ".join(map(str, site.locators))
        allowed = _words(frozenset().union(*(rloc_versions(topology, one) for one in etrs)))
        what = f"locators of site {site.name}: {listed}, of which none of its ETRs has an RLOC"
        problems.add(site.locators[0].line, what, f"allowed is {allowed}")
        return False
    return True


def _path(topology: TopologyRow, site: SiteRow, versions: dict[str, frozenset[int]], problems: Problems) -> None:
    """Each RTR of a path can send to the next one, and the last one to the site."""
    names = [at.value for at in site.via]
    for number, at in enumerate(site.via):
        if at.value in names[:number]:
            problems.add(at.line, f"via of site {site.name}: '{at}' comes twice", "allowed is each RTR once")
    for here, there in pairwise(site.via):
        if not versions[here.value] & versions[there.value]:
            what = f"via of site {site.name}: {here} ({_words(versions[here.value])}) cannot send to {there}"
            allowed = f"allowed is an RTR that has an IP version in common with it ({_words(versions[there.value])})"
            problems.add(there.line, what, allowed)
    last, own = site.via[-1], locator_versions(topology, site)
    if not versions[last.value] & own:
        what = f"via of site {site.name}: {last} ({_words(versions[last.value])}) cannot send to its ETRs"
        problems.add(last.line, what, f"allowed is an RTR with RLOCs of {_words(own)}")


def _words(versions: set[int] | frozenset[int]) -> str:
    return " and ".join(_NAMES[one] for one in sorted(versions)) or "none"
