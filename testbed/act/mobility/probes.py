"""Probes between a host that moves and its correspondents: UDP at an even pace, and TCP whose bytes are checked."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from testbed.act.ping import first_reply
from testbed.client.box import ROOT
from testbed.lab import Lab, LabError
from testbed.observe.timeline import Probe, Sample

INTERVAL_NS = 1_000_000
UDP_PORT, TCP_PORT = 47000, 48000
_SECOND = 1_000_000_000
_END_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_NUMBER = 8  # bytes


@dataclass(frozen=True, slots=True)
class Flow:
    """The datagrams of one way, all of them.

    Attributes:
        correspondent: The node at the other end.
        direction: "to" or "from" it.
        version: The IP version.
        sent: When each was sent (monotonic nanoseconds).
        numbers: Which arrived, in the order of arrival.
        arrived: When (monotonic nanoseconds).
    """

    correspondent: str
    direction: str
    version: int
    sent: array[int]
    numbers: array[int]
    arrived: array[int]

    def between(self, begin: int, end: int) -> Flow:
        """What was sent in a time, and all that arrived of it: times in monotonic nanoseconds."""
        first, behind = bisect_left(self.sent, begin), bisect_left(self.sent, end)
        start = bisect_left(self.arrived, begin)  # nothing arrives before it is sent
        stop = bisect_right(self.arrived, end + 2 * _SECOND)
        kept = [index for index in range(start, stop) if first <= self.numbers[index] < behind]
        return Flow(
            self.correspondent,
            self.direction,
            self.version,
            self.sent[first:behind],
            array("q", (self.numbers[index] - first for index in kept)),
            array("q", (self.arrived[index] for index in kept)),
        )

    def blackout(self, begin: int, end: int) -> int:
        """The longest time without an arrival between two times, in nanoseconds."""
        start, stop = bisect_left(self.arrived, begin), bisect_right(self.arrived, end)
        return max(b - a for a, b in pairwise((begin, *self.arrived[start:stop], end)))

    def probe(self, zero: int) -> Probe:
        """What became of them; times count from ``zero`` (monotonic nanoseconds)."""
        first: dict[int, int] = {}
        reordered = duplicated = 0
        highest = -1
        for number, at in zip(self.numbers, self.arrived, strict=True):
            if number in first:
                duplicated += 1
                continue
            first[number] = at
            reordered += number < highest
            highest = max(highest, number)
        times = ((at, first.get(number)) for number, at in enumerate(self.sent))
        ends = (self.sent[0], max((*self.arrived, self.sent[-1]))) if self.sent else (0, 0)
        return Probe(
            self.correspondent,
            self.direction,
            self.version,
            "udp",
            sent=len(self.sent),
            received=len(first),
            lost=len(self.sent) - len(first),
            duplicated=duplicated,
            reordered=reordered,
            blackout_s=self.blackout(*ends) / _SECOND,
            samples=tuple(
                Sample((at - zero) / _SECOND, None if there is None else (there - at) / _SECOND) for at, there in times
            ),
        )


@dataclass(frozen=True, slots=True)
class Stream:
    """The bytes of one way of a TCP connection.

    Attributes:
        correspondent: The node at the other end.
        direction: "to" or "from" it.
        version: The IP version.
        sent: Bytes sent.
        received: Bytes that arrived.
        wrong: Those of them that were not what was sent.
        lost: What ended the connection before its time, or "".
        progress: When how many had arrived: (monotonic nanoseconds, bytes).
    """

    correspondent: str
    direction: str
    version: int
    sent: int
    received: int
    wrong: int
    lost: str
    progress: tuple[tuple[int, int], ...]

    def probe(self, zero: int) -> Probe:
        """What became of it; times count from ``zero`` (monotonic nanoseconds)."""
        times = [at for at, _ in self.progress]
        return Probe(
            self.correspondent,
            self.direction,
            self.version,
            "tcp",
            blackout_s=max((b - a for a, b in pairwise(times)), default=0) / _SECOND,
            sessions_lost=int(bool(self.lost)),
            bytes=self.received,
            bytes_wrong=self.wrong,
            samples=tuple(Sample((at - zero) / _SECOND, 0.0) for at in times),
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What the probes saw.

    Attributes:
        flows: Datagrams, a flow for each correspondent, direction and IP version.
        streams: TCP, likewise.
        late: How much later than planned each turn of the prober was, in nanoseconds; it sends a datagram of each flow
            in a turn. A gap of that length is its own.
    """

    flows: tuple[Flow, ...]
    streams: tuple[Stream, ...]
    late: array[int]


class Probes:
    """Traffic between one host and its correspondents, from ``with`` to :meth:`stop`."""

    def __init__(
        self,
        lab: Lab,
        mobile: str,
        correspondents: Sequence[str],
        *,
        versions: Sequence[int] = (4, 6),
        interval_ns: int = INTERVAL_NS,
        streams: bool = True,
    ) -> None:
        """Plan it.

        Args:
            lab: Where it runs.
            mobile: The host.
            correspondents: The other ends.
            versions: The IP versions.
            interval_ns: Between two datagrams of a flow.
            streams: Whether there is a TCP connection with each as well.
        """
        self._lab, self._mobile = lab, mobile
        self._pairs = [(one, version) for version in versions for one in correspondents]
        self._ways = [(one, way, version) for one, version in self._pairs for way in ("to", "from")]
        self._interval, self._with_streams = interval_ns, streams
        self._result = lab.run_dir / "probes.bin"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Probes:
        """Connect everybody and begin to send.

        Raises:
            LabError: A correspondent cannot be reached.
        """
        with ExitStack() as stack:
            flows, streams = [], []
            for number, (correspondent, version) in enumerate(self._pairs):
                self._meet(correspondent, version)
                here = stack.enter_context(self._bound(self._mobile, version, UDP_PORT + number))
                there = stack.enter_context(self._bound(correspondent, version, UDP_PORT + number))
                flows += [(here.fileno(), there.fileno()), (there.fileno(), here.fileno())]
                if self._with_streams:
                    ends = stack.enter_context(self._connected(correspondent, version, TCP_PORT + number))
                    streams.append(tuple(one.fileno() for one in ends))
            plan = {
                "interval_ns": self._interval,
                "groups": 1,
                "flows": flows,
                "streams": streams,
                "result": str(self._result),
            }
            script = ROOT / "testbed/act/mobility/prober.py"
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(script), str(ROOT)],
                pass_fds=[one for pair in (*flows[::2], *streams) for one in pair],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        if self._process.stdin is None or self._process.stdout is None:
            raise LabError("probes: no pipes")
        self._process.stdin.write(json.dumps(plan) + "\n")
        self._process.stdin.flush()
        if self._process.stdout.readline() != "ready\n":
            raise LabError(f"probes: the prober ended with exit status {self._process.wait()}")
        return self

    def __exit__(self, *_error: object) -> None:
        """End it, whatever it has seen."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def stop(self) -> Seen:
        """Stop sending, wait for what is under way, and return what was seen.

        Raises:
            LabError: The prober failed.
        """
        if self._process is None:
            raise LabError("probes: they do not run")
        process, self._process = self._process, None
        try:
            process.communicate(timeout=_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            raise LabError(f"probes: the prober does not end within {_END_SECONDS:g} s") from None
        if process.returncode:
            raise LabError(f"probes: the prober ended with exit status {process.returncode}")
        try:
            return _read(self._result, self._ways)
        finally:
            self._result.unlink()

    def _meet(self, correspondent: str, version: int) -> None:
        """Have both ends know the way: what is measured is a move, not a first packet."""
        for source, destination in ((self._mobile, correspondent), (correspondent, self._mobile)):
            try:
                first_reply(self._lab, source, destination, within=_CONNECT_SECONDS, version=version)
            except TimeoutError as error:
                raise LabError(f"probes: {error}") from None

    def _bound(self, node: str, version: int, port: int) -> socket.socket:
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        made = self._lab.socket(node, family, socket.SOCK_DGRAM)
        made.bind((str(self._lab[node].address_of(version)), port))
        made.setblocking(False)
        return made

    @contextmanager
    def _connected(self, correspondent: str, version: int, port: int) -> Iterator[tuple[socket.socket, socket.socket]]:
        """A TCP connection from the mobile host to a correspondent: both ends."""
        family = socket.AF_INET if version == 4 else socket.AF_INET6
        with (
            self._lab.socket(correspondent, family, socket.SOCK_STREAM) as listener,
            self._lab.socket(self._mobile, family, socket.SOCK_STREAM) as here,
        ):
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((str(self._lab[correspondent].address_of(version)), port))
            listener.listen(1)
            here.settimeout(_CONNECT_SECONDS)
            try:
                here.connect(listener.getsockname())
            except OSError as error:
                raise LabError(f"probes: {self._mobile} cannot connect to {correspondent}: {error}") from None
            there, _ = listener.accept()
            with there:
                for one in (here, there):
                    one.setblocking(False)
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                yield here, there


def _read(path: Path, ways: list[tuple[str, str, int]]) -> Seen:
    """Read what the prober wrote."""
    with path.open("rb") as file:
        told = json.loads(file.readline())

        def numbers(count: int) -> array[int]:
            found = array("q")
            found.frombytes(file.read(count * _NUMBER))
            return found

        late = numbers(told["late"])
        flows = tuple(
            Flow(one, way, version, numbers(sent), numbers(arrived), numbers(arrived))
            for (one, way, version), (sent, arrived) in zip(ways, told["flows"], strict=True)
        )
        streams = []
        for (one, way, version), (sent, received, wrong, lost, length) in zip(ways, told["streams"], strict=False):
            flat = numbers(length)
            progress = tuple(zip(flat[::2], flat[1::2], strict=True))
            streams.append(Stream(one, way, version, sent, received, wrong, lost, progress))
    return Seen(flows, tuple(streams), late)
