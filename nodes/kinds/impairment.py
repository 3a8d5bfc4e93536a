"""Links that are what they say: bandwidth, delay and loss, by what this kernel has, read back after they are set.

Bandwidth is a token bucket (tbf) at each sending end. Delay is netem below which that bucket hangs, or, where the
kernel has none, a detour through the relay (``nodes.relay``). Loss is a classifier at each receiving end: unlike netem
it sees frames as they are on the wire, and not the super-packets from which the sending end is still to cut them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from nodes.linux import classifier, links, qdisc
from nodes.linux.classifier import Hook
from nodes.linux.ethtool import offloads_off

_HEADER = 14  # bytes of an Ethernet header
_BURST_SECONDS = 0.001  # what the bucket lets through at once: timers are exact to far less
_QUEUE_SECONDS = 0.05  # what waits at a full link, as in a router with a usual buffer
_QUEUE_FRAMES = 16  # and on a slow one at least
_NETEM_PACKETS = 1_000_000  # what is under way; the bucket bounds it, where there is one
_NETEM_CLASS = 0x10001


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


def needs_relay(wanted: Iterable[Impairment]) -> bool:
    """Whether links like these need the relay, because they have delays and this kernel has no netem.

    Raises:
        LinkError: This kernel cannot do one of the things they ask for.
    """
    every = list(wanted)
    if any(one.bandwidth for one in every) and not qdisc.has_tbf():
        raise LinkError("a link has a bandwidth, but this kernel has no tbf (CONFIG_NET_SCH_TBF)")
    if any(one.loss for one in every) and not classifier.has_classifiers():
        missing = "clsact (CONFIG_NET_SCH_INGRESS) or no cls_bpf (CONFIG_NET_CLS_BPF)"
        raise LinkError(f"a link has a loss, but this kernel has no {missing}")
    return any(one.delay for one in every) and not qdisc.has_netem()


def impair(machine: Any, interface: str, wanted: Impairment, mtu: int, relayed: bool) -> None:
    """Make one end of a link what it is to be, and look whether it is.

    Args:
        machine: The machine.
        interface: The name of its interface.
        wanted: What the link is to do.
        mtu: The interface's MTU in bytes.
        relayed: Whether the relay delays the link's frames, so that nothing is to be delayed here.

    Raises:
        LinkError: The kernel did something else.
        NetlinkError: The kernel refused; the text says what.
    """
    kernel, index = machine.kernel, links.index_of(machine.kernel, interface)
    if wanted.loss or relayed:
        # Frames as they are on the wire, in size and checksum.
        offloads_off(interface, machine.namespace)
    parent, handle = qdisc.ROOT, 0x10000
    if wanted.delay and not relayed:
        qdisc.add_netem(kernel, index, wanted.nanoseconds, _NETEM_PACKETS, parent, handle)
        parent, handle = _NETEM_CLASS, 0x20000
    if wanted.bandwidth:
        frame = mtu + _HEADER
        burst = max(round(wanted.rate * _BURST_SECONDS), 2 * frame)
        waiting = max(round(wanted.rate * _QUEUE_SECONDS), _QUEUE_FRAMES * frame)
        qdisc.add_tbf(kernel, index, wanted.rate, burst, waiting, parent, handle)
    if wanted.loss:
        qdisc.add_clsact(kernel, index)
        classifier.add_classifier(kernel, index, classifier.loss_program(wanted.loss), Hook.INGRESS)
    _read_back(machine, interface, wanted, mtu, relayed)


def _read_back(machine: Any, interface: str, wanted: Impairment, mtu: int, relayed: bool) -> None:
    """Compare what the kernel says with what was asked for."""
    link = links.get(machine.kernel, interface)
    there = {one.kind: one for one in qdisc.list_qdiscs(machine.kernel, link.index)}
    programs = classifier.list_programs(machine.kernel, link.index, Hook.INGRESS)
    rate = there["tbf"].rate if "tbf" in there else 0
    delay = there["netem"].delay if "netem" in there else 0
    lossy = classifier.loss_program(wanted.loss) in programs
    for what, asked, found in (
        ("MTU in bytes", mtu, link.mtu),
        ("rate in bytes a second", wanted.rate, rate),
        ("delay in nanoseconds", 0 if relayed else wanted.nanoseconds, delay),
        (f"loss of {wanted.loss:g} %", bool(wanted.loss), lossy),
    ):
        if asked != found:
            raise LinkError(f"{machine.name}: interface {interface}: the {what} is {found}, not {asked} as asked for")
