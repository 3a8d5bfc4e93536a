"""The data paths that tests of the data plane are run on, and why one of them may not run here."""

from __future__ import annotations

from functools import cache

from nodes.dataplane.bpf.compiler import CompileError
from nodes.linux import libbpf
from testbed.dataplane import programs

DATA_PATHS = ("python", "ebpf")
"""What the routers of the data plane's tests forward by."""


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
