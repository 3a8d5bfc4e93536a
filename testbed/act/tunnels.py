"""Who stands at the ends of a tunnel that was seen in the core, and whether it belongs there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress
from testbed.model import Node, Topology


def routers_by_rloc(topology: Topology) -> dict[IPAddress, Node]:
    """The LISP node behind each RLOC."""
    found = {rloc: node for node in topology.lisp_routers if node.lisp for rloc in node.lisp.rlocs}
    # A mobile node may be in any of its networks.
    roaming = [(one, node) for node in topology.lisp_routers if node.networks for one in node.interfaces]
    return found | {address.ip: node for one, node in roaming for address in one.addresses}


def serves(router: Node, sites: set[str]) -> bool:
    """Whether a tunnel between two of ``sites`` may end at ``router``: it stands in one of them, or it is a proxy."""
    proxy = router.lisp is not None and bool(router.lisp.roles & {Role.PITR, Role.PETR})
    return proxy or router.site in sites


def relays(tunnels: Iterable[tuple[IPAddress, IPAddress]], routers: Mapping[IPAddress, Node]) -> set[str]:
    """The RTRs that took packets out of one of ``tunnels`` and put them into another: both were seen."""
    seen = list(tunnels)
    begun = {node.name for source, _ in seen if (node := routers.get(source))}
    ended = {node.name: node for _, destination in seen if (node := routers.get(destination))}
    return {name for name, node in ended.items() if name in begun and node.lisp and Role.RTR in node.lisp.roles}
