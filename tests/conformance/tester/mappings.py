"""What the mapping system has of an EID, by its packets: whoever asks, and whoever wrote the routers.

A Map-Server answers a Map-Request, or passes it on to the ETR that registered the EID: :func:`standing` sees either.
An ITR that misses a mapping asks for it, and is answered: :func:`resolved` sees both.
"""

from __future__ import annotations

from dataclasses import dataclass
from secrets import randbelow
from typing import Any

from testbed.lab import Lab
from tests.conformance.tester import wire
from tests.conformance.tester.daemons import asking, lasting, registrations
from tests.conformance.tester.places import uplink
from tests.conformance.tester.players import Itr
from tests.conformance.tester.watch import Seen, Watch, inner_request

HOSTS = 1 << 16
"""Of a large EID-prefix, one of the first so many hosts is asked for."""


@dataclass(frozen=True)
class Standing:
    """What a Map-Server does with a question about an EID.

    Attributes:
        etr: To whom it passes the question on; None if it answers itself.
        record: Its own answer; None if it gives none.
    """

    etr: Any = None
    record: wire.Record | None = None

    @property
    def registered(self) -> bool:
        """Whether somebody has registered the EID, as far as the answer shows it."""
        return self.etr is not None or bool(self.record and self.record.locators)

    @property
    def lasting(self) -> tuple[Any, ...]:
        """What time does not change."""
        one = self.record
        return (self.etr, one and (one.prefix, one.action, one.locators))


def standing(lab: Lab, server: str, eid: Any) -> Standing:
    """Ask a Map-Server for an EID, as a Map-Resolver would; what it answers, or to whom it passes the question on.

    It answers one EID only so often (RFC 9301 section 5.4): :func:`any_host` of an EID-prefix is always answered.
    """
    core = uplink(lab, server)
    with Watch(lab, [core]) as watch:
        itr = Itr(lab, server, watch)
        nonce = itr.look_up(eid)

        def found() -> list[Standing]:
            told = [one for one in itr.heard(wire.MAP_REPLY) if one.message.nonce == nonce]
            passed = [one for one in itr.heard(wire.ECM) if inner_request(one).nonce == nonce]
            return [
                *(Standing(record=record) for one in told for record in one.message.records),
                *(Standing(etr=one.outer.destination) for one in passed),
            ]

        return watch.until(found, f"{server} answers for {eid}, or passes the question on")[0]


def any_host(prefix: Any) -> Any:
    """An address of an EID-prefix that was hardly asked for before."""
    return prefix[randbelow(min(HOSTS, prefix.num_addresses))]


def registered(lab: Lab, server: str) -> dict[str, Any]:
    """What a Map-Server has of the EID-prefixes of its sites, without what time changes: told, or shown by packets."""
    if lab.tells(server, "registrations"):
        return lasting(registrations(lab, server))
    config = lab[server].lisp
    assert config is not None
    prefixes = [one.prefix.network for site in config.sites for one in site.prefixes]
    return {str(one): standing(lab, server, any_host(one)).lasting for one in prefixes}


@dataclass(frozen=True)
class Answered:
    """An ITR's question and its answer.

    Attributes:
        question: The Encapsulated Map-Request, as it arrived at the core router next to the ITR.
        reply: The Map-Reply, as it arrived at the ITR.
    """

    question: Seen
    reply: Seen


def resolved(lab: Lab, itr: str, eid: Any) -> Answered:
    """Make an ITR ask for an EID: by hand where it can be told to, else by a host's packet when it has started anew."""
    if not lab.tells(itr, "lig"):
        lab.restart(itr)  # it knows no mapping, and asks
    core, config = uplink(lab, itr), lab[itr].lisp
    assert config is not None
    # Its questions may leave by any of its links.
    cores = [one.name for one in lab.topology.core] or [core]
    with Watch(lab, [*cores, itr]) as watch:

        def found() -> list[Answered]:
            questions = [
                one
                for one in watch.control(wire.ECM)
                if one.outer.source in config.rlocs and eid in inner_request(one).records[0].prefix
            ]
            replies = {one.message.nonce: one for one in watch.control(wire.MAP_REPLY, itr)}
            pairs = [(one, replies.get(inner_request(one).nonce)) for one in questions]
            return [Answered(question, reply) for question, reply in pairs if reply]

        asked = asking(lab, itr, eid)
        answered = watch.until(found, f"{itr} asks for {eid} and is answered")[0]
    asked.join()
    return answered
