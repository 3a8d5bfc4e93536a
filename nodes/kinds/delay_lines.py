"""Links that lead through the relay (``nodes.relay``), which delays their frames where the kernel has no netem."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nodes.linux import links
from nodes.linux.links import VethEnd
from nodes.linux.namespaces import inside, new_network
from nodes.linux.sysctl import has_sysctl, write_sysctl


@dataclass(frozen=True, slots=True)
class DelayLine:
    """A link that is cut in two.

    Attributes:
        halves: The names of the interfaces in the relay's namespace, one for each half.
        delay: Milliseconds.
        link: Which machines it joins ("core1 - core2").
    """

    halves: tuple[str, str]
    delay: float
    link: str


class DelayLines:
    """The network namespace where the relay passes frames from one half of each link to the other.

    Attributes:
        namespace: Its descriptor.
        lines: The links that lead through it.
    """

    def __init__(self) -> None:
        """Make the namespace."""
        self.namespace = new_network()
        self.lines: list[DelayLine] = []
        with inside(self.namespace):
            if has_sysctl("net/ipv6"):  # or the kernel would send frames of its own
                write_sysctl("net/ipv6/conf/default/disable_ipv6", 1)

    def join(self, a: Any, a_end: VethEnd, b: Any, b_end: VethEnd, delay: float) -> None:
        """Make a link that leads through here.

        Args:
            a: One machine.
            a_end: Its end of the link.
            b: The other machine.
            b_end: Its end.
            delay: Milliseconds.
        """
        mtu, number = max(a_end.mtu, b_end.mtu), len(self.lines)
        halves = f"{number}a", f"{number}b"
        for machine, end, half in zip((a, b), (a_end, b_end), halves, strict=True):
            links.add_veth(machine.kernel, end, VethEnd(half, self.namespace, mtu=mtu))
        self.lines.append(DelayLine(halves, delay, f"{a.name} - {b.name}"))
