"""What tests of labs share: the data paths, why one of them may not run here, the offloads of an interface."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from nodes.dataplane.bpf.compiler import CompileError
from nodes.linux import ethtool, libbpf
from testbed.dataplane import programs
from testbed.lab import Lab

DATA_PATHS = ("python", "ebpf")
"""What the routers of the data plane's tests forward by."""
_SIOCGSKNS = 0x894C  # the network namespace of a socket


@cache
def missing_for(dataplane: str) -> str:
    """Why no lab can have that data path on this machine, or "" if it can."""
    if dataplane != "ebpf":
        return ""
    try:
        libbpf.Object(programs()).close()
    except (CompileError, OSError) as error:
        return f"no eBPF data plane here: {error}"
    return ""


@contextmanager
def namespace_of(lab: Lab, node: str) -> Iterator[int]:
    """A descriptor of a node's network namespace."""
    with lab.socket(node) as inside:
        namespace = fcntl.ioctl(inside, _SIOCGSKNS)
    try:
        yield namespace
    finally:
        os.close(namespace)


def offloads(lab: Lab, node: str, interface: str) -> dict[str, bool]:
    """The features of a node's interface that are in effect, by the kernel's names."""
    with namespace_of(lab, node) as namespace:
        return ethtool.get_features(interface, namespace)
