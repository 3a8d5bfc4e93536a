"""What passes on links: captures that can be waited for, and what another dissector makes of them."""

from __future__ import annotations

import select
import subprocess
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from testbed.lab import Lab
from testbed.observe.capture import Capture, Frame
from tests.conformance.tester import packets, wire
from tests.conformance.tester.offloads import exact as without_offloads

T = TypeVar("T")


@dataclass(frozen=True)
class Seen:
    """A control message that arrived at a node."""

    frame: Frame
    outer: packets.Datagram
    message: wire.Message

    @property
    def node(self) -> str:
        """Where it arrived."""
        return self.frame.node


class Watch(Capture):
    """A capture that can be waited for."""

    def __init__(self, lab: Lab, nodes: Iterable[str], *, exact: bool = False) -> None:
        """Open a packet socket at each of ``nodes``.

        Args:
            lab: Where they are.
            nodes: Their names.
            exact: Whoever judges checksums or sizes switches off the offloads of their links, until :meth:`close`.
        """
        nodes = list(nodes)
        with ExitStack() as links:
            if exact:
                links.enter_context(without_offloads(lab, nodes))
            super().__init__(lab, nodes)
            self._links = links.pop_all()

    def close(self) -> None:
        """Take the last frames, close the sockets, and give the links their offloads back."""
        with self._links:
            super().close()

    def until(self, found: Callable[[], T], what: str, within: float = 15.0) -> T:
        """Take frames until ``found()`` is something, and return it."""
        poll = select.poll()
        for tap in self._sockets.values():
            poll.register(tap, select.POLLIN)
        deadline = time.monotonic() + within
        while not (result := found()):
            left = deadline - time.monotonic()
            assert left > 0, f"not within {within:g} s: {what}"
            poll.poll(left * 1000)
            self.drain()
        return result

    def datagrams(self, port: int | None = None, node: str | None = None) -> list[tuple[Frame, packets.Datagram]]:
        """The UDP datagrams so far, to or from ``port``, that arrived at ``node``."""
        found = []
        for frame in self.frames:
            one = packets.read_frame(frame.data) if node in (None, frame.node) else None
            if one and port in (None, one.source_port, one.destination_port):
                found.append((frame, one))
        return found

    def control(self, kind: int, node: str | None = None) -> list[Seen]:
        """The control messages of one type so far; a Map-Request also inside an Encapsulated Control Message."""
        found = []
        for frame, one in self.datagrams(wire.CONTROL, node):
            if one.payload and one.payload[0] >> 4 == kind:
                found.append(Seen(frame, one, wire.read(one.payload)))
        return found

    def data(self, node: str | None = None) -> list[tuple[packets.Datagram, packets.Datagram]]:
        """The LISP data packets so far that carry UDP: outer and inner datagram."""
        found = []
        for _, one in self.datagrams(packets.DATA, node):
            if one.destination_port == packets.DATA and (inner := packets.read_datagram(one.payload[8:])):
                found.append((one, inner))
        return found


def inner_request(seen: Seen) -> wire.Message:
    """The Map-Request in an Encapsulated Control Message."""
    assert seen.message.inner is not None
    return wire.read(seen.message.inner.payload)


def dissect(pcap: Path, *fields: str, only: str = "") -> list[list[str]]:
    """What tshark makes of the packets in a file: these fields of each that the display filter ``only`` takes."""
    checked = [f"{layer}.check_checksum:TRUE" for layer in ("ip", "udp")]
    command = ["tshark", "-r", str(pcap), "-T", "fields", "-E", "separator=/t"]
    command += [argument for option in checked for argument in ("-o", option)]
    command += [argument for field in fields for argument in ("-e", field)]
    command += ["-Y", only] if only else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]
