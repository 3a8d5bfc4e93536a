"""Links as what passes on them is judged by: no checksum left to an interface to make, no super-packet to cut."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from nodes.linux import ethtool
from testbed.lab import Lab
from tests.labs import namespace_of, offloads

End = tuple[str, str]
"""A node and an interface of it."""


def ends(lab: Lab, nodes: Iterable[str]) -> list[End]:
    """Both ends of every link of these nodes."""
    links = [one for node in nodes for one in lab[node].interfaces]
    return sorted({(one.node, one.name) for one in links} | {(one.peer, one.peer_interface) for one in links})


@contextmanager
def exact(lab: Lab, nodes: Iterable[str]) -> Iterator[None]:
    """Meanwhile no link of these nodes has an offload, at neither end; then each end has again what it had.

    What a capture at one of them sees is then as long, and has the checksums, that it would have on a wire.

    Raises:
        OSError: The kernel refused, or an offload stays on.
    """
    switched: dict[End, Mapping[str, bool]] = {}
    try:
        for end in ends(lab, nodes):
            found = offloads(lab, *end)
            if on := [one for one in ethtool.OFFLOADS if found[one]]:
                switched[end] = dict.fromkeys(on, True)
                _switch(lab, end, dict.fromkeys(on, False))
        yield
    finally:
        for end, before in switched.items():
            _switch(lab, end, before)


def _switch(lab: Lab, end: End, wanted: Mapping[str, bool]) -> None:
    node, interface = end
    with namespace_of(lab, node) as namespace:
        ethtool.set_features(interface, wanted, namespace)
    found = offloads(lab, *end)
    if wrong := [one for one, on in wanted.items() if found[one] != on]:
        raise OSError(f"{node}: interface {interface}: offloads that do not change: {', '.join(wrong)}")
