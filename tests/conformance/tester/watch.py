"""What the tests do in a lab: watch links, inject packets, freeze a daemon, wait for what must happen."""

from __future__ import annotations

import json
import secrets
import select
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from testbed.drivers import NotTold
from testbed.lab import Lab
from testbed.observe.capture import Capture, Frame
from tests.conformance.tester import packets, wire

T = TypeVar("T")

SINK = 9999
QUESTION = 40405  # the port that asks whether a router still answers
_SO_RCVBUFFORCE = 33


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

    def until(self, found: Callable[[], T], what: str, within: float = 5.0) -> T:
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


def eventually(found: Callable[[], T], what: str, within: float = 5.0, pause: float = 0.01) -> T:
    """Ask until there is an answer: for what a daemon says of itself, which nobody announces."""
    deadline, nobody = time.monotonic() + within, threading.Event()
    while not (result := found()):
        assert time.monotonic() < deadline, f"not within {within:g} s: {what}"
        nobody.wait(pause)
    return result


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


def facing(lab: Lab, core: str, node: str, version: int = 4) -> packets.IPAddress:
    """The address of a core router's interface towards a node."""
    return next(one.ip for one in lab[core].link_to(node).addresses if one.version == version)


def inject(lab: Lab, node: str, *sent: bytes) -> None:
    """Send IP packets from a node as they are (the kernel sets IPv4's identification and header checksum)."""
    for version, family in ((4, socket.AF_INET), (6, socket.AF_INET6)):
        mine = [one for one in map(packets.Ip, sent) if one.version == version]
        if mine:
            with lab.socket(node, family, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw:
                for one in mine:
                    raw.sendto(one.packet, (str(one.destination), 0))


def sink(lab: Lab, node: str, port: int = SINK) -> socket.socket:
    """A UDP socket at a host, with room for thousands of datagrams."""
    opened = lab.socket(node, socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
    opened.bind(("0.0.0.0", port))
    return opened


def received(opened: socket.socket, count: int, within: float) -> list[bytes]:
    """Datagrams from a socket: ``count`` of them, or what came until nothing did for ``within`` seconds."""
    opened.settimeout(within)
    found: list[bytes] = []
    try:
        while len(found) < count:
            found.append(opened.recv(65536))
    except TimeoutError:
        pass
    return found


def dropped(lab: Lab, node: str, reason: str) -> int:
    """How many control messages a node dropped for a reason."""
    return int(lab.show(node, "statistics")["control"].get(f"dropped-{reason}", 0))


@contextmanager
def expect_drop(lab: Lab, node: str, reason: str, count: int = 1) -> Iterator[None]:
    """What happens inside makes a node drop ``count`` control messages for that reason.

    A node that does not tell what it drops answers none of it, and answers a good question afterwards.
    """
    if not lab.tells(node, "statistics"):
        with unanswered(lab, node):
            yield
        return
    before = dropped(lab, node, reason)
    yield
    eventually(lambda: dropped(lab, node, reason) >= before + count, f"{node} drops: {reason}")
    assert dropped(lab, node, reason) == before + count


@contextmanager
def unanswered(lab: Lab, node: str) -> Iterator[None]:
    """What happens inside makes a node send no Map-Reply and no Map-Notify; then it answers a good question.

    Raises:
        NotTold: It has no role that answers questions, so that its silence says nothing.
    """
    core = uplink(lab, node)
    with Watch(lab, [core]) as watch:

        def sent() -> list[packets.Datagram]:
            found = watch.datagrams(wire.CONTROL, core)
            return [one for frame, one in found if frame.interface == node and one.payload]

        yield
        nonce, question = _good_question(lab, node, core)
        inject(lab, core, question)
        watch.until(lambda: any(nonce in one.payload for one in sent()), f"{node} answers a good question")
        answers = [one for one in sent() if one.payload[0] >> 4 in (wire.MAP_REPLY, wire.MAP_NOTIFY)]
        assert [one for one in answers if nonce not in one.payload] == []


def _good_question(lab: Lab, node: str, core: str) -> tuple[bytes, bytes]:
    """Something that any router of these roles answers or passes on: its nonce, which is in the answer, and it."""
    config, target = lab[node].lisp, rloc(lab, node)
    assert config is not None
    own = [one.prefix.network for one in config.database]
    served = [one.prefix.network for site in config.sites for one in site.prefixes]
    known = own or served or [one.prefix.network for one in config.delegations]
    if not known:
        raise NotTold(f"{foreign(lab, node)} does not tell what {node} drops")
    # Any host of it: of one EID, only the first questions within a while are answered (RFC 9301 section 5.4).
    eid = known[0][secrets.randbelow(known[0].num_addresses)]
    address, nonce = facing(lab, core, node, target.version), secrets.token_bytes(8)
    request = wire.map_request(int.from_bytes(nonce), [eid], [address])
    message = request if own else wire.ecm(address, QUESTION, eid, request)
    return nonce, packets.datagram(address, target, (QUESTION, wire.CONTROL), message)


def foreign(lab: Lab, node: str) -> str:
    """What runs on a node in place of our daemon, "" where our daemon does."""
    return str(next(one for one in lab.status()["nodes"] if one["name"] == node).get("implementation", ""))


def pid(lab: Lab, node: str) -> int:
    """The process ID, inside the box, of a node's daemon."""
    return int(next(one for one in lab.status()["nodes"] if one["name"] == node)["pid"])


@contextmanager
def frozen(lab: Lab, node: str) -> Iterator[None]:
    """The daemon of a node stands still: its sockets are open, nothing answers."""
    process = str(pid(lab, node))
    whole = f"-{process}" if foreign(lab, node) else process  # what it started is of its session
    assert lab.run(node, ["kill", "-STOP", "--", whole]).returncode == 0
    try:
        yield
    finally:
        lab.run(node, ["kill", "-CONT", "--", whole])


def map_cache(lab: Lab, node: str) -> dict[str, dict[str, Any]]:
    """The map-cache of a node by EID-prefix."""
    return {row["eid"]: row for row in lab.show(node, "map-cache")}


def registrations(lab: Lab, node: str) -> dict[str, dict[str, Any]]:
    """The registrations at a Map-Server by EID-prefix."""
    return {row["eid"]: row for row in lab.show(node, "registrations")}


def lasting(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows without the columns that time and packets change."""
    passing = ("uptime_s", "expires_s", "age_s", "idle_s", "packets", "bytes", "fast_packets")
    return {eid: {key: value for key, value in row.items() if key not in passing} for eid, row in rows.items()}


def in_background(work: Callable[[], Any]) -> threading.Thread:
    """Start something that waits for what the test is about to do; whatever it raises is the test's to find out."""

    def run() -> None:
        try:
            work()
        except Exception:
            return

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def asking(lab: Lab, node: str, eid: Any, timeout: float = 5.0) -> threading.Thread:
    """Have an ITR ask for an EID: by hand where it can be told to, else by a packet of a host behind it."""
    if lab.tells(node, "lig"):
        return in_background(lambda: lab.lig(node, str(eid), timeout=timeout))
    host = next(one for one in lab.topology.hosts if one.site == lab[node].site)
    sent = packets.datagram(host.address_of(eid.version), eid, (7777, SINK), b"asking")
    return in_background(lambda: inject(lab, host.name, sent))


def dissect(pcap: Path, *fields: str, only: str = "") -> list[list[str]]:
    """What tshark makes of the packets in a file: these fields of each that the display filter ``only`` takes."""
    checked = [f"{layer}.check_checksum:TRUE" for layer in ("ip", "udp")]
    command = ["tshark", "-r", str(pcap), "-T", "fields", "-E", "separator=/t"]
    command += [argument for option in checked for argument in ("-o", option)]
    command += [argument for field in fields for argument in ("-e", field)]
    command += ["-Y", only] if only else []
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def log_lines(lab: Lab, node: str) -> list[dict[str, Any]]:
    """A node's log, read.

    Raises:
        NotTold: It does not run our daemon, and what its log says is its own affair.
    """
    if name := foreign(lab, node):
        raise NotTold(f"{name} does not tell its events")
    return [json.loads(line) for line in lab.log(node)]
