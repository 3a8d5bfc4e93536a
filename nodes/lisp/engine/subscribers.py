"""Who may subscribe, and under which names (RFC 9437 sections 1.1, 3 and 7).

A Map-Request is not authenticated. So a Map-Resolver, which it reaches first and from the xTR itself, and a
Map-Server, which takes it from such Map-Resolvers or from the xTR, both look whether the xTR-ID, the Site-ID and the
RLOCs are those of one xTR that they were told of. A Map-Server does not rely on that alone: see
:mod:`nodes.lisp.engine.publisher`.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from nodes.lisp.config import NodeConfig, Subscriber
from nodes.lisp.eid import IPAddress
from nodes.lisp.wire import Action, Address, MapRequest, NoAddress


class Subscribers:
    """The xTRs that a Map-Server or Map-Resolver was told of."""

    def __init__(self, config: NodeConfig) -> None:
        self._known = {bytes.fromhex(one.xtr_id): one for one in config.subscribers}
        self._resolvers = frozenset(config.subscription_resolvers)

    def find(self, request: MapRequest) -> Subscriber | None:
        """Who subscribes, by the xTR-ID and the Site-ID."""
        found = self._known.get(request.xtr_id or b"")
        return found if found and found.site_id == request.site_id else None

    def refusal(self, request: MapRequest, source: IPAddress) -> Action | None:
        """Why this may not subscribe, as an action of a negative Map-Reply (RFC 9437 section 5); None if it may.

        Args:
            request: The Map-Request.
            source: Where the Encapsulated Control Message came from.
        """
        subscriber = self.find(request)
        if subscriber is None:
            return Action.DROP_AUTH_FAILURE
        places = [source] if source not in self._resolvers else []
        rlocs = () if is_withdrawal(request) else request.itr_rlocs
        known = all(is_of(subscriber, one) for one in (*places, *rlocs))
        return None if known else Action.DROP_POLICY_DENIED


def wants_notification(request: MapRequest) -> bool:
    """Whether a Map-Request subscribes to something, or unsubscribes (RFC 9437 section 4).

    One with several EID-Records has one nonce for all of them, and none could be told from the others by it: it is
    answered as if it had no N-bit.
    """
    return request.xtr_id is not None and len(request.records) == 1 and request.records[0].notify


def is_withdrawal(request: MapRequest) -> bool:
    """RFC 9437 section 5: one ITR-RLOC, with AFI 0, ends the subscription."""
    return request.itr_rlocs == (NoAddress(),)


def is_of(subscriber: Subscriber, rloc: Address) -> bool:
    """Whether an address is an RLOC of that xTR's."""
    return isinstance(rloc, IPv4Address | IPv6Address) and any(rloc in network for network in subscriber.rlocs)
