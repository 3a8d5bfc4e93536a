"""Stock Mininet, imported without its slowest dependency.

``mininet.node`` wants ``distutils.version.StrictVersion``, for Open vSwitch's version only. Python 3.12 has no
distutils, and setuptools' stand-in takes 0.15 s to import, four times Mininet itself. So a small one is lent to it
while it is imported.
"""

from __future__ import annotations

import os
import sys
import types


class _StrictVersion:
    """A dotted version that compares by its numbers."""

    def __init__(self, text: str) -> None:
        self._numbers = tuple(int(part) for part in text.split("."))

    def __lt__(self, other: _StrictVersion) -> bool:
        return self._numbers < other._numbers

    def __gt__(self, other: _StrictVersion) -> bool:
        return self._numbers > other._numbers


def _lend_distutils() -> list[str]:
    package, version = types.ModuleType("distutils"), types.ModuleType("distutils.version")
    version.StrictVersion = _StrictVersion  # type: ignore[attr-defined]
    lent = {"distutils": package, "distutils.version": version}
    sys.modules.update(lent)
    return list(lent)


_lent = [] if "distutils" in sys.modules else _lend_distutils()
try:
    import mininet.util
    from mininet.link import Intf, Link
    from mininet.net import Mininet
    from mininet.node import Node, Switch
finally:
    for _name in _lent:
        del sys.modules[_name]

mininet.util.numCores.ncores = os.cpu_count()  # otherwise it runs grep
Mininet.inited = True  # otherwise it raises limits of the whole machine (fixLimits): a lab changes nothing outside

__all__ = ["Intf", "Link", "Mininet", "Node", "Switch"]
