"""Round-trip times, as ping measures them."""

from __future__ import annotations

import re
import statistics

from testbed.lab import Lab, LabError

FLOOD = 1000


def flood(lab: Lab, source: str, address: str, cpu: int) -> float:
    """The median round-trip time of 1000 pings, each sent when the one before is answered, in microseconds.

    Args:
        lab: The lab.
        source: The node that pings.
        address: Whom.
        cpu: Where ping runs: on one CPU, the kernel carries a request and its reply without waking another.

    Raises:
        LabError: More than a hundredth of them got no answer.
    """
    done = lab.run(source, ["taskset", "-c", str(cpu), "ping", "-i", "0", "-c", str(FLOOD), address])
    times = _times(done.stdout)
    if len(times) < FLOOD * 0.99:
        raise LabError(f"{len(times)} of {FLOOD} pings from {source} to {address} were answered in {lab.name}")
    # ping tells whole microseconds: the median of a class of them is told apart by how many lie below and above.
    return statistics.median_grouped([one * 1000 for one in times])


def first(lab: Lab, source: str, address: str) -> float:
    """The round-trip time of a single ping in milliseconds.

    Raises:
        LabError: It got no answer.
    """
    done = lab.run(source, ["ping", "-c", "1", "-W", "5", address])
    times = _times(done.stdout)
    if not times:
        raise LabError(f"no answer from {address} to {source} in {lab.name}")
    return times[0]


def _times(said: str) -> list[float]:
    """Milliseconds."""
    return [float(one) for one in re.findall(r" time=([\d.]+) ms", said)]
