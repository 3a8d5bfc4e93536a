"""What a router counts of its data path: checked where it tells; where it does not, packets alone are the judge."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from testbed.lab import Lab

COUNTERS = "statistics"


def fast_packets(lab: Lab, router: str, kind: str) -> int | None:
    """How many packets a router's kernel has "encapsulated", "decapsulated", …; None if it does not tell."""
    if not lab.tells(router, COUNTERS):
        return None
    return int(lab.show(router, COUNTERS)["data"].get(f"{kind}_fast_packets", 0))


@contextmanager
def by_fast_path(lab: Lab, router: str, kind: str, count: int) -> Iterator[None]:
    """Of what happens meanwhile, a router's kernel handles exactly so many packets, if the router tells.

    No packet that a test judges gets by on the other path, unseen. Of a router that does not tell, the packets have
    been judged all the same, whoever forwarded them.
    """
    before = fast_packets(lab, router, kind)
    yield
    if before is not None:
        after = fast_packets(lab, router, kind)
        assert after is not None
        assert after - before == count


def drops(lab: Lab, router: str) -> Counter[str] | None:
    """The packets that a router's data path has dropped, by reason; None if it does not tell."""
    return Counter(lab.show(router, COUNTERS)["drops"]) if lab.tells(router, COUNTERS) else None


@contextmanager
def counting(lab: Lab, router: str, wanted: Mapping[str, int]) -> Iterator[None]:
    """Of what happens meanwhile, a router's data path drops exactly these, by reason, if the router tells.

    That nothing of them goes on is for the packets to show, inside.
    """
    before = drops(lab, router)
    yield
    if before is not None:
        after = drops(lab, router)
        assert after is not None
        assert after - before == wanted
