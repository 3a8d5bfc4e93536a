"""Where things are in a lab: a router's RLOC, the core router next to it, the address of that."""

from __future__ import annotations

from typing import Any

from testbed.lab import Lab
from tests.conformance.tester.packets import IPAddress


def rloc(lab: Lab, node: str) -> Any:
    """The first RLOC of a LISP router."""
    config = lab[node].lisp
    assert config is not None
    return config.rlocs[0]


def uplink(lab: Lab, node: str) -> str:
    """The core router that a node's first core link leads to."""
    config = lab[node].lisp
    assert config is not None
    return next(one.peer for one in lab[node].interfaces if one.name == config.core_interfaces[0])


def facing(lab: Lab, core: str, node: str, version: int = 4) -> IPAddress:
    """The address of a core router's interface towards a node."""
    return next(one.ip for one in lab[core].link_to(node).addresses if one.version == version)
