"""The world as a picture, before a host moved and after."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from testbed.act.mobility.moved import Moved
from testbed.graph import graph
from testbed.model import Interface, Link, Node, NodeKind, Topology


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing of the world.

    Attributes:
        title: When it was so.
        words: What is to be seen.
        source: The drawing, as a data URI.
        width: Its size, and ``height``, in pixels.
        height: As above.
        alt: What is to be seen, for who cannot see it.
        host: How far from the left the host is, 0 to 1.
    """

    title: str
    words: str
    source: str
    width: int
    height: int
    alt: str
    host: float


def pictures(topology: Topology, moves: Sequence[Moved]) -> Iterator[Picture]:
    """The world before the first move and after each that led to a place where the host had not been."""
    first = moves[0]
    yield _picture(topology, "Before", f"{first.node} is in {first.origin}", first.node)
    seen = {first.origin}
    for move in moves:
        topology = relocated(topology, move.node, move.site)
        if move.site not in seen:
            words = f"{move.node} is in {move.site}: the same addresses, the same MAC address, the same sessions"
            yield _picture(topology, "After", words, move.node)
        seen.add(move.site)


def _picture(topology: Topology, title: str, words: str, marked: str) -> Picture:
    drawing = graph(topology, marked=(marked,))
    width, height = (int(one) for one in _found(r'width="(\d+)" height="(\d+)"', drawing))
    [shift] = _found(r"translate\(([\d.]+) ", drawing)
    [box] = _found(r' marked"><title>[^<]*</title>\s*<rect x="([\d.]+)"', drawing)
    source = "data:image/svg+xml;base64," + base64.b64encode(drawing.encode()).decode()
    host = round((float(shift) + float(box)) / width, 3)
    return Picture(title, words, source, width, height, f"{topology.title}; {words}", host)


def _found(pattern: str, drawing: str) -> tuple[str, ...]:
    match = re.search(pattern, drawing)
    assert match is not None, "drawings are like this"
    return match.groups()


def relocated(topology: Topology, name: str, site: str) -> Topology:
    """The topology with a host at another site's fabric, where its cable is plugged in under the host's name."""
    host = topology[name]
    [plug] = host.interfaces
    fabric = next(one for one in topology.nodes.values() if one.site == site and one.kind is NodeKind.FABRIC)
    old = topology[plug.peer]
    socket = next(one for one in old.interfaces if one.name == plug.peer_interface)
    moved: dict[str, Node] = {
        name: replace(host, site=site, interfaces=(replace(plug, peer=fabric.name),)),
        old.name: replace(old, interfaces=tuple(one for one in old.interfaces if one is not socket)),
        fabric.name: replace(fabric, interfaces=(*fabric.interfaces, replace(socket, node=fabric.name))),
    }
    links = tuple(_rewired(link, socket, fabric.name) for link in topology.links)
    return replace(topology, nodes={key: moved.get(key, node) for key, node in topology.nodes.items()}, links=links)


def _rewired(link: Link, socket: Interface, fabric: str) -> Link:
    old = (socket.node, socket.name)
    ends = [(fabric, socket.name) if end == old else end for end in (link.a, link.b)]
    return replace(link, a=ends[0], b=ends[1])
