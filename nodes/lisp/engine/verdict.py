"""What a role says about one EID of a Map-Request: the record to reply with, or whom to forward to."""

from __future__ import annotations

from dataclasses import dataclass

from nodes.lisp.eid import EidPrefix, IPAddress
from nodes.lisp.wire import Action, EidRecord

ELSEWHERE_TTL = 1440


@dataclass(frozen=True, slots=True)
class Forward:
    """The Map-Request goes on, inside an Encapsulated Control Message, to the ETR or a Map-Server.

    Attributes:
        destinations: The RLOCs that know the same; one of them is asked, and another when the question comes again.
    """

    destinations: tuple[IPAddress, ...]


Verdict = EidRecord | Forward


def negative(prefix: EidPrefix, ttl_minutes: int) -> EidRecord:
    """No EID is in ``prefix``: natively-forward (RFC 9301 section 8.1), never authoritative (section 5.4)."""
    return EidRecord.of(prefix, ttl_minutes, action=Action.NATIVELY_FORWARD)


def elsewhere(prefix: EidPrefix) -> EidRecord:
    """Somebody else answers for ``prefix``: whoever needs it asks (RFC 9301 section 5.4, Send-Map-Request)."""
    return EidRecord.of(prefix, ELSEWHERE_TTL, action=Action.SEND_MAP_REQUEST)
