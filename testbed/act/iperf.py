"""iperf3 between two nodes of a lab: a server for this run only, a client, and what both of them measured."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nodes.lisp.eid import IPAddress
from testbed.client.channel import LabError
from testbed.client.running import LabClient

DATAGRAM = 1200
"""Octets of payload in a datagram: with every header, a LISP router's as well, it fits into an MTU of 1280."""
CONNECT_SECONDS = 5.0
_SPARE_SECONDS = 10.0
_LOOK_SECONDS = 0.05
_LISTEN_SECONDS = 0.005
_LISTEN = "0A"  # the state, as /proc/net/tcp writes it


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be sent.

    Attributes:
        udp: Whether by UDP instead of TCP.
        rate: Mbit/s of all flows together, None for as fast as TCP goes.
        seconds: For how long.
        flows: How many flows at a time.
    """

    udp: bool
    rate: float | None
    seconds: int
    flows: int


@dataclass(frozen=True, slots=True)
class Flow:
    """One flow, as its two ends measured it; None where that is no matter of its protocol.

    Attributes:
        port: The sender's port.
        sent_mbps: Mbit/s of payload that were sent, and ``received_mbps`` of those that arrived.
        retransmissions: TCP segments sent again.
        rtt_ms: TCP's mean round-trip time in milliseconds, its own queues included.
        packets: UDP datagrams, and ``lost`` of them: those that had not arrived when the run ended.
        jitter_ms: Variation of the transit time (RFC 3550 section 6.4.1) in milliseconds.
        out_of_order: Datagrams that were overtaken.
    """

    port: int
    sent_mbps: float
    received_mbps: float
    retransmissions: int | None = None
    rtt_ms: float | None = None
    packets: int | None = None
    lost: int | None = None
    jitter_ms: float | None = None
    out_of_order: int | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What iperf3 measured.

    Attributes:
        flows: Each flow.
        seconds: How long the sender sent.
        intervals: For each second [start, end, Mbit/s sent].
        server_port: The port that the flows went to.
        version: Which iperf3 that was.
    """

    flows: tuple[Flow, ...]
    seconds: float
    intervals: tuple[tuple[float, float, float], ...]
    server_port: int
    version: str


def measure(
    lab: LabClient, source: str, destination: str, address: IPAddress, load: Load, look: Callable[[], None]
) -> Report:
    """Send ``load`` from one node to an address of another, and call ``look`` every few milliseconds meanwhile.

    Raises:
        LabError: There is no iperf3, no way, no answer, or no end in time.
    """
    if shutil.which("iperf3") is None:
        raise LabError("iperf3 is not installed; on Debian and Ubuntu: apt-get install iperf3")
    with lab.socket(destination, _family(address), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # the server may bind before the lab lets go of it
        try:
            probe.bind((str(address), 0))
        except OSError as error:
            raise LabError(f"{destination} cannot listen at {address}: {error.strerror}") from None
        port = int(probe.getsockname()[1])
    with _server(lab, destination, address, port), tempfile.TemporaryFile("w+") as output:
        with _running(lab.start(source, _client_command(address, port, load), output)) as client:
            deadline = time.monotonic() + CONNECT_SECONDS + load.seconds + _SPARE_SECONDS
            if not _follow(client, deadline, look):
                raise LabError(f"{destination} ({address}) no longer answers {source}: iperf3 did not end in time")
        output.seek(0)
        text = output.read()
    try:
        told = json.loads(text[text.index("{") :])  # there may be warnings before it
    except ValueError:
        last = text.strip().splitlines()[-1:] or [f"exit status {client.returncode}"]
        raise LabError(f"iperf3 in {source}: {last[0]}") from None
    if "error" in told:
        raise LabError(_refusal(told["error"], source, f"{destination} ({address})"))
    return read(told, port, load)


def _family(address: IPAddress) -> int:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6


def _client_command(address: IPAddress, port: int, load: Load) -> Sequence[str]:
    command = ["iperf3", "--json", "--client", str(address), "--port", str(port), "--time", str(load.seconds)]
    command += ["--parallel", str(load.flows), "--connect-timeout", str(int(CONNECT_SECONDS * 1000))]
    command += ["--get-server-output"]
    if load.udp:
        command += ["--udp", "--length", str(DATAGRAM)]
    if load.rate is not None:
        command += ["--bitrate", str(round(load.rate * 1e6 / load.flows))]  # iperf3 counts by the flow
    return command


@contextmanager
def _running(process: subprocess.Popen[str]) -> Iterator[subprocess.Popen[str]]:
    """A process that is no more at the end."""
    with process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()


@contextmanager
def _server(lab: LabClient, node: str, address: IPAddress, port: int) -> Iterator[None]:
    """An iperf3 server for one client, from when it listens; its output goes to the client."""
    command = ["iperf3", "--json", "--server", "--one-off", "--bind", str(address), "--port", str(port)]
    with tempfile.TemporaryFile("w+") as output, _running(lab.start(node, command, output)) as server:
        deadline = time.monotonic() + CONNECT_SECONDS
        while not _listens(server.pid, address, port):
            ended = server.poll() is not None
            if ended or time.monotonic() > deadline:
                output.seek(0)
                said = re.search(r'"error":\s*"(.*)"', output.read())
                why = said[1] if said else "it has ended" if ended else f"not within {CONNECT_SECONDS:g} s"
                raise LabError(f"the iperf3 server in {node} does not listen: {why}")
            select.select([], [], [], _LISTEN_SECONDS)
        yield


def _listens(process: int, address: IPAddress, port: int) -> bool:
    """Whether somebody listens at this address in the network namespace of a process; with --json a server is mute."""
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)
    name = "".join(f"{word:08X}" for word in words) + f":{port:04X}"
    table = Path(f"/proc/{process}/net/{'tcp' if address.version == 4 else 'tcp6'}")
    with suppress(OSError):
        rows = [row.split() for row in table.read_text().splitlines()]
        return any(row[1] == name and row[3] == _LISTEN for row in rows)
    return False


def _follow(client: subprocess.Popen[str], deadline: float, look: Callable[[], None]) -> bool:
    """Look again and again until the client has ended; say whether it has before the deadline."""
    pidfd = os.pidfd_open(client.pid)
    try:
        while time.monotonic() < deadline:
            ended, _, _ = select.select([pidfd], [], [], _LOOK_SECONDS)
            look()
            if ended:
                return True
        return False
    finally:
        os.close(pidfd)


def _refusal(error: str, source: str, target: str) -> str:
    """What iperf3 complains of, in one line that names both nodes."""
    reason = error.removeprefix("unable to connect to server: ").removeprefix("error - ")
    if "timed out" in reason:
        return f"{target} does not answer {source} within {CONNECT_SECONDS:g} s"
    if "No route" in reason or "unreachable" in reason:
        return f"{source} has no route to {target}: {reason}"
    return f"iperf3 from {source} to {target}: {reason}"


def read(told: dict[str, Any], port: int, load: Load) -> Report:
    """Read what iperf3's client tells with ``--json``, and the server in it.

    Each end is asked for what it knows itself: the client's own figures call datagrams received that never arrived.
    """
    start, end = told["start"], told["end"]
    server = told["server_output_json"]
    arrived = {
        one["remote_port"]: stream
        for one, stream in zip(server["start"]["connected"], server["end"]["streams"], strict=True)
    }
    flow = _udp_flow if load.udp else _tcp_flow
    ports = [one["local_port"] for one in start["connected"]]
    sums = [one["sum"] for one in told["intervals"]]
    return Report(
        tuple(flow(one, sent, arrived[one]) for one, sent in zip(ports, end["streams"], strict=True)),
        end["sum" if load.udp else "sum_sent"]["seconds"],
        tuple((one["start"], one["end"], one["bits_per_second"] / 1e6) for one in sums),
        port,
        start["version"],
    )


def _tcp_flow(port: int, sent: dict[str, Any], arrived: dict[str, Any]) -> Flow:
    sender = sent["sender"]
    rtt = sender.get("mean_rtt")
    return Flow(
        port,
        sender["bits_per_second"] / 1e6,
        arrived["receiver"]["bits_per_second"] / 1e6,
        retransmissions=sender.get("retransmits"),
        rtt_ms=rtt / 1000 if rtt else None,
    )


def _udp_flow(port: int, sent: dict[str, Any], arrived: dict[str, Any]) -> Flow:
    sender, receiver = sent["udp"], arrived["udp"]
    packets = sender["packets"]
    # The receiver counts up to the last datagram that it saw: what was lost behind that one, only the sender knows.
    received = min(receiver["packets"] - receiver["lost_packets"], packets)
    rate = sender["bits_per_second"] / 1e6
    return Flow(
        port,
        rate,
        rate * received / packets if packets else 0.0,
        packets=packets,
        lost=packets - received,
        jitter_ms=receiver["jitter_ms"] if received else None,
        out_of_order=receiver.get("out_of_order"),
    )
