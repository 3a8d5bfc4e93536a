"""Links that are what they say: delay, loss, bandwidth and MTU, each measured; carrier; what cannot be is an error."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import statistics
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from nodes.kinds import impairment
from nodes.linux import classifier, qdisc
from nodes.linux.namespaces import scratch_network
from nodes.linux.netlink import Connection
from testbed.act.ping import first_reply
from testbed.client.box import Box, parent_of
from testbed.client.channel import Channel
from testbed.lab import Lab, LabError
from testbed.observe import stamps
from tests.e2e.worlds import pairs_world

_SO_RCVBUFFORCE, _SO_SNDBUFFORCE = 33, 32
_PORT = 9

LINKS = {
    "plain": {},
    "slow": {"delay": 5.0},
    "far": {"delay": 40.0},
    "lossy": {"loss": 10.0},
    "thin": {"bandwidth": 10.0},
    "wide": {"bandwidth": 200.0},
    "real": {"delay": 10.0, "loss": 2.0, "bandwidth": 20.0},
    "jumbo": {"mtu": 9000},
    "narrow": {"mtu": 1400, "delay": 1.0},
}
"""The links of the world; each joins a host "NAME-a" with a host "NAME-b"."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    with Lab(pairs_world(LINKS), name="test-links", run_dir=tmp_path_factory.mktemp("runs") / "test-links") as running:
        yield running


class Ends:
    """A UDP socket at each end of a link, and what arrives at the second when."""

    def __init__(self, lab: Lab, link: str, timeout: float = 1.0) -> None:
        self.a = lab.socket(f"{link}-a")
        with stamps.at_once(partial(lab.socket, f"{link}-b")):
            self.b = lab.socket(f"{link}-b")
            stamps.want(self.b)
        self.b.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        address = str(lab[f"{link}-b"].address)
        self.b.bind((address, _PORT))
        self.a.connect((address, _PORT))
        self.b.settimeout(timeout)

    def __enter__(self) -> Ends:
        return self

    def __exit__(self, *_error: object) -> None:
        self.a.close()
        self.b.close()

    def receive(self) -> tuple[bytes, float]:
        """The next datagram and when the kernel took it in (seconds of the clock on the wall)."""
        data, ancillary, _, _ = self.b.recvmsg(65536, 64)
        return data, stamps.read(ancillary[0][2]) / 1e9

    def drain(self) -> list[tuple[bytes, float]]:
        """Everything that still arrives, until nothing has for the time-out."""
        arrived = []
        with suppress(TimeoutError):
            while True:
                arrived.append(self.receive())
        return arrived


@pytest.mark.exclusive
@pytest.mark.parametrize(("link", "milliseconds"), [("slow", 5), ("far", 40), ("narrow", 1), ("plain", 0)])
def test_delay_is_exact_to_a_millisecond(lab: Lab, link: str, milliseconds: float) -> None:
    with Ends(lab, link) as ends:
        ends.a.send(b"neighbours know each other from now on")
        ends.receive()
        took = []
        for _ in range(200 if milliseconds < 10 else 50):
            began = time.time()
            ends.a.send(b"x")
            took.append((ends.receive()[1] - began) * 1000)
    assert min(took) >= milliseconds
    assert statistics.median(took) < milliseconds + 1
    assert statistics.quantiles(took, n=4)[-1] < milliseconds + 1


@pytest.mark.exclusive
def test_delay_is_each_way(lab: Lab) -> None:
    done = lab.run("slow-a", ["ping", "-c", "20", "-i", "0.01", "-q", str(lab["slow-b"].address)])
    fastest = float(done.stdout.rpartition("= ")[2].split("/")[0])
    assert 10 <= fastest < 12, done.stdout


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Stay where one is: what one processor has queued may overtake what was sent before from another one."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@pytest.mark.order
def test_delay_keeps_the_order_and_loses_nothing(lab: Lab) -> None:
    """What comes in a burst leaves in a burst, as late and in the same order."""
    with Ends(lab, "slow") as ends:
        with on_one_processor():
            for number in range(2000):
                ends.a.send(struct.pack("!I", number))
        arrived = [struct.unpack("!I", data)[0] for data, _ in ends.drain()]
    assert arrived == list(range(2000))


@pytest.mark.parametrize(("link", "per_cent"), [("lossy", 10.0), ("plain", 0.0)])
def test_loss_is_exact_to_a_point(lab: Lab, link: str, per_cent: float) -> None:
    packets = 10_000
    first_reply(lab, f"{link}-a", f"{link}-b", within=20)  # an ARP request that was lost would cost them all
    with Ends(lab, link, timeout=0.5) as ends:
        for number in range(packets):
            ends.a.send(struct.pack("!I", number))
        arrived = len(ends.drain())
    assert abs(100 * (packets - arrived) / packets - per_cent) < 1


@contextmanager
def connected(lab: Lab, link: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """A TCP connection over a link."""
    with lab.socket(f"{link}-b", socket.AF_INET, socket.SOCK_STREAM) as listener:
        # The test before may have left its connection in TIME-WAIT.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((str(lab[f"{link}-b"].address), _PORT))
        listener.listen()
        with lab.socket(f"{link}-a", socket.AF_INET, socket.SOCK_STREAM) as a:
            a.connect(listener.getsockname())
            b, _ = listener.accept()
            with b:
                yield a, b


def transfer(a: socket.socket, b: socket.socket, total: int) -> int:
    """Send so many bytes and end; how many arrived."""
    sender = threading.Thread(target=lambda: (a.sendall(bytes(total)), a.shutdown(socket.SHUT_WR)))
    sender.start()
    received = 0
    while data := b.recv(1 << 20):
        received += len(data)
    sender.join()
    return received


def test_loss_is_of_frames_not_of_what_a_host_hands_down(lab: Lab) -> None:
    """TCP hands down 64 KiB at a time; if the link lost those as one, hardly a segment would be lost on its own."""
    total = 3_000_000
    before = frames(lab, "lossy-b")
    with connected(lab, "lossy") as (a, b):
        assert transfer(a, b, total) == total
    assert frames(lab, "lossy-b") - before > total / 1500


@pytest.mark.exclusive
def test_segments_are_lost_one_by_one(lab: Lab) -> None:
    """By chance nine of ten gaps are one segment long; super-packets lost as one make most of them longer."""
    gaps: list[float] = []
    with (
        connected(lab, "lossy") as (a, b),
        lab.socket("lossy-b", socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP) as seen,
    ):
        seen.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        seen.settimeout(0.5)
        port = a.getsockname()[1]
        transfer(a, b, 6_000_000)
        newest = None
        with suppress(TimeoutError):
            while True:
                packet = seen.recv(65536)
                start = (packet[0] & 15) * 4
                source, _, sequence = struct.unpack_from("!HHI", packet, start)
                data = len(packet) - start - (packet[start + 12] >> 4) * 4
                if source != port or not data:
                    continue
                ahead = (sequence - newest) % (1 << 32) if newest is not None else 0
                if 0 < ahead < 1 << 31:
                    gaps.append(ahead / 1448)
                if ahead < 1 << 31:
                    newest = (sequence + data) % (1 << 32)
    assert len(gaps) > 100
    # The share, not the mean: one pause of TCP's own, behind which it goes on far ahead, is a gap of a hundred.
    assert sum(gap < 1.5 for gap in gaps) / len(gaps) > 0.75


def frames(lab: Lab, node: str) -> int:
    """How many frames have arrived at a host."""
    (row,) = json.loads(lab.run(node, ["ip", "-j", "-s", "link", "show", lab[node].interfaces[0].name]).stdout)
    return int(row["stats64"]["rx"]["packets"])


@pytest.mark.exclusive
@pytest.mark.parametrize(("link", "megabits", "payload"), [("thin", 10, 1400), ("wide", 200, 60_000)])
def test_rate_is_exact_to_five_per_cent(lab: Lab, link: str, megabits: float, payload: int) -> None:
    """More than fits is sent for a while; what arrives is counted in Ethernet frames, the fragments' headers too."""
    with Ends(lab, link, timeout=0.3) as ends:
        ends.a.setsockopt(socket.SOL_SOCKET, _SO_SNDBUFFORCE, 1 << 19)  # doubled by the kernel: 40 ms at 200 Mbit/s
        ended = time.monotonic() + 0.6
        arrived: list[tuple[bytes, float]] = []
        reader = threading.Thread(target=lambda: arrived.extend(ends.drain()))
        reader.start()
        while time.monotonic() < ended:
            ends.a.send(bytes(payload))  # waits while its own packets fill the queue
        reader.join()
    size = payload + 8
    on_the_wire = size + -(-size // 1480) * 34
    times = [when for _, when in arrived]
    start = len(times) // 4  # the bucket's first burst goes at once
    rate = (len(times) - 1 - start) * on_the_wire * 8 / (times[-1] - times[start]) / 1e6
    assert abs(rate / megabits - 1) < 0.05, f"{rate:.2f} Mbit/s"


@pytest.mark.exclusive
def test_all_at_once(lab: Lab) -> None:
    """10 ms, 2 %, 20 Mbit/s on one link, kept full without its queue's overflowing (50 ms, 119 frames).

    What is under way is bounded by what has arrived, not by the clock: however long this process or the kernel's timers
    are held up, the queue loses nothing.
    """
    packets, payload, megabits = 3000, 1000, 20
    on_the_wire = payload + 42
    under_way = 120  # 24 of them are delayed, the others wait
    arrived: list[tuple[int, float, float]] = []
    with Ends(lab, "real", timeout=0.3) as ends:
        lab.run("real-a", ["ping", "-c", "5", "-i", "0.01", "-W", "1", str(lab["real-b"].address)])

        def take(datagram: bytes, when: float) -> None:
            number, sent = struct.unpack_from("=Qd", datagram)
            arrived.append((number, sent, when))

        for number in range(packets):
            while number - (arrived[-1][0] if arrived else 0) >= under_way:
                take(*ends.receive())
            ends.a.send(struct.pack("=Qd", number, time.time()) + bytes(payload - 16))
        for one in ends.drain():
            take(*one)
    _, sent, when = arrived[0]
    assert 10 <= (when - sent) * 1000 < 12
    assert abs(100 * (packets - len(arrived)) / packets - 2) < 1
    times = [when for _, _, when in arrived][100:]
    rate = (len(times) - 1) * on_the_wire * 8 / (times[-1] - times[0]) / 1e6
    assert abs(rate / (megabits * 0.98) - 1) < 0.05, f"{rate:.2f} Mbit/s"


def test_mtu(lab: Lab) -> None:
    for link, mtu in (("jumbo", 9000), ("narrow", 1400), ("plain", 1500)):
        host, far = f"{link}-a", str(lab[f"{link}-b"].address)
        fits = lab.run(host, ["ping", "-M", "do", "-s", str(mtu - 28), "-c", "1", "-W", "10", far])
        assert fits.returncode == 0, fits.stdout
        too_big = lab.run(host, ["ping", "-M", "do", "-s", str(mtu - 27), "-c", "1", "-W", "0.1", "-i", "0.01", far])
        assert f"mtu={mtu}" in too_big.stderr + too_big.stdout


def test_a_link_that_goes_down_is_seen_at_both_ends(lab: Lab) -> None:
    """A cut link has one carrier, and it comes back."""

    def carrier(node: str) -> bool:
        (row,) = json.loads(lab.run(node, ["ip", "-j", "link", "show", lab[node].interfaces[0].name]).stdout)
        return "LOWER_UP" in row["flags"]

    def becomes(node: str, wanted: bool) -> bool:
        deadline = time.monotonic() + 20
        while carrier(node) != wanted and time.monotonic() < deadline:
            pass
        return carrier(node) == wanted

    for link in ("plain", "slow"):
        a, b = f"{link}-a", f"{link}-b"
        lab.run(a, ["ip", "link", "set", b, "down"])
        assert becomes(b, False)
        lab.run(b, ["ip", "link", "set", a, "down"])
        lab.run(a, ["ip", "link", "set", b, "up"])
        assert becomes(a, False)
        lab.run(b, ["ip", "link", "set", a, "up"])
        assert becomes(a, True)
        assert becomes(b, True)
        done = lab.run(a, ["ping", "-c", "1", "-W", "10", str(lab[b].address)])
        assert done.returncode == 0, done.stdout


@pytest.mark.skipif(qdisc.has_netem(), reason="this kernel has netem: there is no relay")
def test_a_relay_that_dies_is_replaced(lab: Lab) -> None:
    pid = lab.run("slow-a", ["pgrep", "-x", "delay-relay"]).stdout.split()
    assert len(pid) == 1
    lab.run("slow-a", ["kill", "-KILL", *pid])
    event = lab.wait_for("relay-died")
    assert event["status"] == -signal.SIGKILL
    assert "slow-a - slow-b" in event["links"]
    lab.wait_for("relay-replaced")
    done = lab.run("slow-a", ["ping", "-c", "1", "-W", "10", str(lab["slow-b"].address)])
    assert done.returncode == 0, done.stdout


@pytest.mark.skipif(qdisc.has_netem(), reason="this kernel has netem: there is no relay")
def test_a_relay_ends_with_its_lab(tmp_path: Path) -> None:
    """It is in the box: whoever kills the lab process has killed it."""
    lab = Lab(pairs_world({"slow": {"delay": 5.0}}), name="test-relay-end", run_dir=tmp_path / "test-relay-end")
    lab.boot(detach=True)
    try:
        with Channel.open(lab.run_dir / "control.sock") as channel:
            process = channel.peer
        box = Box(parent_of(process))
        inside = (Path("/proc") / str(process) / "ns/pid").readlink()
        relays = [one for one in Path("/proc").glob("[0-9]*") if is_relay_of(one, inside)]
        assert len(relays) == 1
        os.kill(process, signal.SIGKILL)
        assert box.ended(20)
        assert not relays[0].exists()
    finally:
        lab.stop()


def is_relay_of(process: Path, box: Path) -> bool:
    """Whether a process is a relay inside a box, by the box's PID namespace."""
    try:
        return (process / "comm").read_text() == "delay-relay\n" and (process / "ns/pid").readlink() == box
    except OSError:
        return False


def test_what_the_kernel_cannot_do_is_an_error_before_any_host_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(impairment.qdisc, "has_tbf", lambda: False)
    monkeypatch.setattr(impairment.qdisc, "has_netem", lambda: False)
    monkeypatch.setattr(impairment.classifier, "has_classifiers", lambda: False)
    with pytest.raises(impairment.LinkError, match="a link has a bandwidth, but this kernel has no tbf"):
        impairment.by_netem([impairment.Impairment(bandwidth=10)])
    with pytest.raises(
        impairment.LinkError, match=r"a link has a loss, but this kernel has no netem .*, and no clsact"
    ):
        impairment.by_netem([impairment.Impairment(loss=1)])
    assert impairment.by_netem([impairment.UNIMPAIRED]) is False


def test_the_hooks_of_an_interface_are_shared() -> None:
    """Who comes second finds them there, and its classifier stands beside the first one's."""
    with scratch_network() as namespace, Connection(namespace) as kernel:
        for priority, per_cent in ((2, 20), (1, 10)):
            qdisc.add_clsact(kernel, 1)
            classifier.add_classifier(kernel, 1, classifier.loss_program(per_cent), classifier.Hook.INGRESS, priority)
        programs = classifier.list_programs(kernel, 1, classifier.Hook.INGRESS)
        assert programs == [classifier.loss_program(10), classifier.loss_program(20)]
        assert classifier.list_programs(kernel, 1, classifier.Hook.EGRESS) == []


def test_what_the_kernel_refuses_fails_the_boot(tmp_path: Path) -> None:
    world = pairs_world({"plain": {}})
    nodes = {
        name: dataclasses.replace(node, interfaces=(dataclasses.replace(node.interfaces[0], mtu=100_000),))
        for name, node in world.nodes.items()
    }
    lab = Lab(dataclasses.replace(world, nodes=nodes), name="test-huge", run_dir=tmp_path / "test-huge")
    with pytest.raises(LabError, match="add veth pair plain-b - plain-a: Invalid argument"):
        lab.boot()
    assert not lab.runs
    assert [path.name for path in tmp_path.iterdir()] == ["test-huge"]


FAR_APART = """
title: Two sites far apart
address-space: {rloc: 10.0.0.0/16, eid: 192.168.0.0/16}
core: {routers: core1}
mapping-system:
  msmr: {roles: msmr, links: core1}
sites:
  site1:
    eid-prefixes: 192.168.1.0/24
    key: secret1
    routers:
      xtr1: {roles: xtr, links: {core1: {delay: 20, mtu: 1400}}}
    hosts: h1
  site2:
    eid-prefixes: 192.168.2.0/24
    key: secret2
    routers:
      xtr2: {roles: xtr, links: {core1: {delay: 10, bandwidth: 50, mtu: 1400}}}
    fabric: sw2
    hosts: {h2: {}, h3: {delay: 5}}
"""


def test_lisp_over_such_links(tmp_path: Path) -> None:
    """Registration, resolution and encapsulation cross them; the MTU that is left for inner packets is told (S16)."""
    file = tmp_path / "far-apart.yaml"
    file.write_text(FAR_APART)
    with Lab(file, name="test-far-apart", run_dir=tmp_path / "test-far-apart") as lab:
        for host, milliseconds in (("h2", 60), ("h3", 70)):
            far = str(lab[host].address)
            assert lab.run("h1", ["ping", "-c", "1", "-W", "10", far]).returncode == 0
            done = lab.run("h1", ["ping", "-c", "10", "-i", "0.02", "-q", "-W", "2", far])
            fastest = float(done.stdout.rpartition("= ")[2].split("/")[0])
            assert milliseconds <= fastest < milliseconds + 4, done.stdout
        inner = 1400 - 36
        fits = lab.run("h1", ["ping", "-c", "1", "-M", "do", "-s", str(inner - 28), "-W", "2", far])
        assert fits.returncode == 0, fits.stdout
        too_big = lab.run("h1", ["ping", "-c", "1", "-M", "do", "-s", str(inner - 27), "-w", "1", far])
        assert f"(mtu = {inner})" in too_big.stdout
