"""Which prefix a negative Map-Reply names: the widest one that is certainly empty."""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import ip_network

from nodes.lisp.eid import EidPrefix


class NoHoleError(ValueError):
    """The EID is not in a hole: it overlaps an EID-prefix that exists, or is out of bounds."""


def everything(eid: EidPrefix) -> EidPrefix:
    """The prefix of length 0 in the instance and address family of ``eid``."""
    return EidPrefix(ip_network("0.0.0.0/0" if eid.version == 4 else "::/0"), eid.instance_id)


def least_specific_hole(eid: EidPrefix, known: Iterable[EidPrefix], bound: EidPrefix | None = None) -> EidPrefix:
    """The least-specific prefix that covers ``eid`` and overlaps no known EID-prefix (RFC 9301 section 8.4).

    Args:
        eid: The EID that was asked for.
        known: The EID-prefixes that exist; other instances and families do not matter. None of them covers ``eid``.
        bound: The hole stays inside this prefix; by default it may be as wide as the address family.

    Raises:
        NoHoleError: ``eid`` is not inside ``bound``, or overlaps a known prefix: there is no hole.
    """
    bound = bound or everything(eid)
    if not bound.covers(eid):
        raise NoHoleError(f"{eid} is not inside {bound}")
    width = eid.network.max_prefixlen
    address = int(eid.address)
    mask_len = bound.mask_len
    for prefix in known:
        if prefix.instance_id != eid.instance_id or prefix.version != eid.version:
            continue
        # A prefix of the query's address overlaps a known prefix exactly while it is no longer than what they share.
        shared = width - (address ^ int(prefix.address)).bit_length()
        if shared >= min(prefix.mask_len, eid.mask_len):
            raise NoHoleError(f"{eid} overlaps {prefix}, which is known: there is no hole")
        mask_len = max(mask_len, shared + 1)
    return EidPrefix(eid.network.supernet(new_prefix=mask_len), eid.instance_id)
