"""Who stands at the ends of a tunnel that was seen in the core, and whether it belongs there."""

from __future__ import annotations

from nodes.lisp.config import Role
from nodes.lisp.eid import IPAddress
from testbed.model import Node, Topology


def routers_by_rloc(topology: Topology) -> dict[IPAddress, Node]:
    """The LISP node behind each RLOC."""
    return {rloc: node for node in topology.lisp_routers if node.lisp for rloc in node.lisp.rlocs}


def serves(router: Node, sites: set[str]) -> bool:
    """Whether a tunnel between two of ``sites`` may end at ``router``: it stands in one of them, or it is a proxy."""
    proxy = router.lisp is not None and bool(router.lisp.roles & {Role.PITR, Role.PETR})
    return proxy or router.site in sites
