"""A map-cache of 100 000 mappings against one of ten, for the very same packets.

One flow, as in the measurement without LISP; and, because the mapping of one flow stays in the CPU's cache however many
others there are, packets to 1024 addresses in turn, spread over all mappings. With ten mappings, those cover the same
addresses.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from ipaddress import IPv4Address
from typing import Any

from ci.benches.dataplane import udp
from ci.benches.dataplane.figures import MANY, TEN
from testbed.lab import Lab, LabError

_FIRST = int(IPv4Address("172.21.0.0"))
_SPACE = ("172.21.0.0/16", "172.22.0.0/16")  # MANY host EIDs lie in it
_ADDRESSES = 1024  # well below the 4096 contacts that the ETR's kernel remembers: those are not what is measured
_SIZE = 64


def prepare(lab: Lab) -> None:
    """Have h2 take everything that comes for those addresses, and xtr2 hand it on: as to a router, without asking ARP.

    Raises:
        LabError: The kernel refused.
    """
    h2 = str(lab["h2"].address_of(4))
    for node, way in (("h2", ["local", "{}", "dev", "lo"]), ("xtr2", ["{}", "via", h2])):
        for prefix in _SPACE:
            words = [word.format(prefix) for word in way]
            done = lab.run(node, ["ip", "route", "add", *words])
            if done.returncode:
                raise LabError(f"{node}: {' '.join(words)}: {done.stderr.strip()}")


def measure(lab: Lab, number: int, cpu: int) -> dict[str, float]:
    """Fill the map-cache of xtr1 one way, then the other, and send UDP datagrams of 64 bytes each time.

    Args:
        lab: The lab, prepared.
        number: The round; every other one begins with the many.
        cpu: Where the sender runs.

    Returns:
        Thousands of packets a second that arrive (``ten``, ``cache100k``, and both with ``_spread``), and mappings
        installed a second (``install``).
    """
    found = {}
    for name, size in (("ten", TEN), ("cache100k", MANY))[:: -1 if number % 2 else 1]:
        lab.restart("xtr1")  # with an empty map-cache
        done = lab.add_mappings("xtr1", _mappings(lab, size))
        for kind, addresses in (("", _destinations()[:1]), ("_spread", _destinations())):
            with closing(udp.Flow(lab, "h1", "h2", _SIZE, cpu, addresses)) as flow:
                found[name + kind] = flow.best.arrived / 1000
        if size == MANY:
            found["install"] = done["mappings"] / done["install_s"]
    return found


def _mappings(lab: Lab, size: int) -> Iterator[dict[str, Any]]:
    locators = [{"rloc": str(lab["xtr2"].link_to("core1").addresses[0].ip), "priority": 1, "weight": 100}]
    for number in range(size):
        # 100 000 hosts; or the first seven of ten /18, which hold the same hosts.
        eid = f"{IPv4Address(_FIRST + number)}/32" if size == MANY else f"{IPv4Address(_FIRST + (number << 14))}/18"
        yield {"eid": eid, "locators": locators}


def _destinations() -> list[str]:
    """Not in their order: the next is far from the one before. 37 and 1024 have no common divisor."""
    step = MANY // _ADDRESSES
    return [str(IPv4Address(_FIRST + number * 37 % _ADDRESSES * step)) for number in range(_ADDRESSES)]
