"""Which answers are accepted: what they have to say, and may not, once their nonce is one of ours."""

from __future__ import annotations

from collections.abc import Sequence

from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.locators import forbidden, last_hop
from nodes.lisp.wire import EidRecord, MapReply


def refusal(reply: MapReply, asked: EidPrefix) -> str:
    """Why this reply cannot be the answer of the mapping system to a question for ``asked``, or "" if it can."""
    # RFC 9301 section 7.1: a probe reply answers a probe, which never went through the mapping system.
    return "map-reply-unexpected-probe" if reply.probe else refusal_of_records(reply.records, asked)


def refusal_of_probe(reply: MapReply, asked: EidPrefix, rloc: IPAddress) -> str:
    """Why this reply cannot be the answer to an RLOC-probe of ``rloc`` for ``asked``, or "" if it can.

    One without records says that somebody is there, and that it has no such mapping.
    """
    if not reply.probe:
        return "map-reply-not-of-probe"
    # RFC 9301 section 5.4, P-bit: the A-bit of each EID-Record is 1, or the reply is discarded.
    if not all(record.authoritative for record in reply.records):
        return "probe-reply-not-authoritative"
    # RFC 9301 section 5.4, p-bit: the locator that was probed; of several, the first one counts. Of an Explicit Locator
    # Path that is the end, where its ETR is.
    named = [next((last_hop(one.address) for one in record.locators if one.probed), rloc) for record in reply.records]
    if any(one != rloc for one in named):
        return "probe-reply-other-locator"
    return refusal_of_records(reply.records, asked) if reply.records else ""


def refusal_of_records(records: Sequence[EidRecord], asked: EidPrefix) -> str:
    """Why these records cannot be an answer to a question for ``asked``, or "" if they can."""
    # RFC 9301 section 5.5: one record covers the EID asked for; others are its more-specifics.
    covering = [record.prefix for record in records if record.prefix.covers(asked)]
    if not covering:
        return "map-reply-other-eid"
    best = max(covering, key=lambda prefix: prefix.mask_len)
    if not all(best.covers(record.prefix) for record in records):
        return "map-reply-other-eid"
    # RFC 9301 section 5.4: a locator is not a broadcast or multicast address.
    if any(forbidden(record.locators) for record in records):
        return "map-reply-forbidden-locator"
    return ""
