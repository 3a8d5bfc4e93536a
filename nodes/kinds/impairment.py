"""Links that are what they say: bandwidth, delay and loss, by what this kernel has, read back after they are set.

Bandwidth is a token bucket (tbf) at each sending end. Delay and loss are one netem above that bucket. Netem loses a
super-packet, up to 44 segments, as one, and none of the interface's offloads changes that: segments are cut behind the
queue. So where there is a loss, another bucket stands before it, without a limit to speak of but one frame deep: tbf
cuts what is longer than its bucket is deep.

Where the kernel has no netem, delay is a detour through the relay (``nodes.relay``), and loss a classifier at each
receiving end, where frames are as they are on the wire.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nodes.linux import classifier, links, qdisc
from nodes.linux.classifier import Hook
from nodes.linux.ethtool import OFFLOADS, get_features, offloads_off
from nodes.linux.qdisc import Qdisc

_HEADER = 14  # bytes of an Ethernet header
_BURST_SECONDS = 0.001  # what the bucket lets through at once: timers are exact to far less
_QUEUE_SECONDS = 0.05  # what waits at a full link, as in a router with a usual buffer
_QUEUE_FRAMES = 16  # and on a slow one at least
_NETEM_PACKETS = 1_000_000  # what is under way; the bucket bounds it, where there is one
_NO_RATE = 12_500_000_000  # of the bucket that only cuts: 100 Gbit/s


class LinkError(Exception):
    """A link cannot be what the topology says; one line."""


@dataclass(frozen=True, slots=True)
class Impairment:
    """What a link does to packets, each way.

    Attributes:
        bandwidth: Mbit/s, Ethernet headers included; None for as much as there is.
        delay: Milliseconds.
        loss: Per cent of the packets.
    """

    bandwidth: float | None = None
    delay: float = 0.0
    loss: float = 0.0

    @property
    def rate(self) -> int:
        """The bandwidth in bytes a second; 0 for as much as there is."""
        return round(self.bandwidth * 125_000) if self.bandwidth else 0

    @property
    def nanoseconds(self) -> int:
        """The delay in nanoseconds."""
        return round(self.delay * 1e6)


UNIMPAIRED = Impairment()


def by_netem(wanted: Iterable[Impairment]) -> bool:
    """Whether netem makes the delays and losses of links like these; else the relay and classifiers do.

    Raises:
        LinkError: This kernel cannot do one of the things they ask for.
    """
    every = list(wanted)
    has_tbf = qdisc.has_tbf()
    if any(one.bandwidth for one in every) and not has_tbf:
        raise LinkError("a link has a bandwidth, but this kernel has no tbf (CONFIG_NET_SCH_TBF)")
    netem = any(one.delay or one.loss for one in every) and has_tbf and qdisc.has_netem()
    if any(one.loss for one in every) and not netem and not classifier.has_classifiers():
        missing = "clsact (CONFIG_NET_SCH_INGRESS) or no cls_bpf (CONFIG_NET_CLS_BPF)"
        raise LinkError(f"a link has a loss, but this kernel has no netem (CONFIG_NET_SCH_NETEM), and no {missing}")
    return netem


def impair(machine: Any, interface: str, wanted: Impairment, mtu: int, netem: bool) -> None:
    """Make one end of a link what it is to be, and look whether it is.

    Args:
        machine: The machine.
        interface: The name of its interface.
        wanted: What the link is to do.
        mtu: The interface's MTU in bytes.
        netem: What :func:`by_netem` said; if not, then the relay delays the link's frames.

    Raises:
        LinkError: The kernel did something else.
        NetlinkError: The kernel refused; the text says what.
        OSError: An offload cannot be switched off.
    """
    kernel, index = machine.kernel, links.index_of(machine.kernel, interface)
    whole = bool(wanted.loss or (wanted.delay and not netem))
    if whole:
        # Frames as they are on the wire, in size and checksum.
        offloads_off(interface, machine.namespace)
    chain = _chain(index, wanted, mtu + _HEADER, netem)
    for one, burst in chain:
        if one.kind == "tbf":
            qdisc.add_tbf(kernel, index, one.rate, burst, one.limit, one.parent, one.handle)
        else:
            qdisc.add_netem(kernel, index, one.delay, one.limit, one.parent, one.handle, one.loss)
    programs = [classifier.loss_program(wanted.loss)] if wanted.loss and not netem else []
    for program in programs:
        qdisc.add_clsact(kernel, index)
        classifier.add_classifier(kernel, index, program, Hook.INGRESS)
    _read_back(machine, interface, mtu, [one for one, _ in chain], programs, whole)


def _chain(index: int, wanted: Impairment, frame: int, netem: bool) -> list[tuple[Qdisc, int]]:
    """The disciplines at a sending end, each with its burst in bytes, from the root down."""
    chain: list[tuple[Qdisc, int]] = []

    def hang(kind: str, burst: int = 0, **properties: int) -> None:
        level = len(chain)
        parent = level << 16 | 1 if level else qdisc.ROOT  # the one class of the discipline above
        chain.append((Qdisc(index, kind, level + 1 << 16, parent, **properties), burst))

    if netem and wanted.loss:
        hang("tbf", burst=frame, rate=_NO_RATE, limit=_QUEUE_FRAMES * frame)
    if netem and (wanted.delay or wanted.loss):
        hang("netem", delay=wanted.nanoseconds, limit=_NETEM_PACKETS, loss=qdisc.share(wanted.loss))
    if wanted.bandwidth:
        waiting = max(round(wanted.rate * _QUEUE_SECONDS), _QUEUE_FRAMES * frame)
        hang("tbf", burst=max(round(wanted.rate * _BURST_SECONDS), 2 * frame), rate=wanted.rate, limit=waiting)
    return chain


def _read_back(machine: Any, interface: str, mtu: int, chain: list[Qdisc], programs: list[bytes], whole: bool) -> None:
    """Compare what the kernel says with what was asked for.

    Raises:
        LinkError: It says something else.
    """
    link = links.get(machine.kernel, interface)
    there = {one.handle: one for one in qdisc.list_qdiscs(machine.kernel, link.index)}
    comparisons: list[tuple[str, object, object]] = [("MTU in bytes", mtu, link.mtu)]
    for one in chain:
        found = there.get(one.handle, Qdisc(link.index, "nothing", one.handle, 0))
        comparisons += [
            (f"discipline {one.handle >> 16}:", one.kind, found.kind),
            ("rate in bytes a second", one.rate, found.rate),
            ("delay in nanoseconds", one.delay, found.delay),
            ("loss in packets of 2^32", one.loss, found.loss),
            (f"queue of {one.kind}", one.limit, found.limit),
            (f"place of {one.kind}", f"{one.parent:x}", f"{found.parent:x}"),
        ]
    if programs:
        listed = classifier.list_programs(machine.kernel, link.index, Hook.INGRESS)
        comparisons += [("loss by a classifier", True, all(program in listed for program in programs))]
    if whole:
        features = get_features(interface, machine.namespace)
        comparisons += [("offloads left on", "none", ", ".join(one for one in OFFLOADS if features[one]) or "none")]
    for what, asked, seen in comparisons:
        if asked != seen:
            raise LinkError(f"{machine.name}: interface {interface}: the {what} is {seen}, not {asked} as asked for")
