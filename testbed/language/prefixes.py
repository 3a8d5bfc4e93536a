"""Which prefixes overlap: one sort and one sweep, since a file may hold hundreds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from nodes.lisp.eid import IPNetwork


@dataclass(frozen=True, slots=True)
class Claim:
    """A prefix and who has it.

    Attributes:
        network: The prefix.
        owner: Who, in words: "site dc1".
        line: Where the file says so; 0 if it does not.
    """

    network: IPNetwork
    owner: str
    line: int


def overlaps(claims: Iterable[Claim]) -> Iterator[tuple[Claim, Claim]]:
    """Pairs of claims that overlap, the later line first: each claim with the widest one that covers it."""
    widest: Claim | None = None
    last = -1
    for claim in sorted(claims, key=lambda c: (c.network.version, int(c.network.network_address), c.network.prefixlen)):
        first = int(claim.network.network_address)
        if widest is not None and widest.network.version == claim.network.version and first <= last:
            earlier, later = sorted((widest, claim), key=lambda c: c.line)
            yield later, earlier
        else:
            widest, last = claim, int(claim.network.broadcast_address)


def inside(network: IPNetwork, spaces: Iterable[IPNetwork]) -> bool:
    """Whether ``network`` lies wholly inside one of ``spaces``."""
    return any(
        space.version == network.version
        and space.prefixlen <= network.prefixlen
        and int(network.network_address) >> (space.max_prefixlen - space.prefixlen)
        == int(space.network_address) >> (space.max_prefixlen - space.prefixlen)
        for space in spaces
    )
