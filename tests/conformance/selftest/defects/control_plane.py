"""Control messages: how they are formed, what is believed, how often they are sent (rows C)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit, OnLink

_ENGINE = "nodes/lisp/engine/"

DEFECTS = (
    Defect(
        "C01",
        "a Map-Reply goes to port 4342, whatever port the Map-Request came from",
        (
            Edit(
                f"{_ENGINE}replies.py",
                "yield Send(reply.encode(), destination, port, from_control_port=True)",
                "yield Send(reply.encode(), destination, CONTROL_PORT, from_control_port=True)",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C02",
        "control messages arrive with UDP checksum 0",
        (OnLink("udp sport 4342 udp checksum set 0"), OnLink("udp dport 4342 udp checksum set 0")),
    ),
    Defect(
        "C03",
        "a message of an unknown address family is dropped, and no log tells",
        (
            Edit(
                f"{_ENGINE}core.py",
                'yield from self._context.drop("malformed", now, source=source, error=str(error))',
                'list(self._context.drop("malformed", now, source=source, error=str(error)))',
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C04",
        "a reserved bit of each EID-Record in a Map-Reply is 1",
        (
            Edit(
                "nodes/lisp/wire/map_reply.py",
                "*(record.encode() for record in self.records),",
                "*((one := record.encode())[:7] + bytes([one[7] | 1]) + one[8:] for record in self.records),",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C05",
        "a Map-Reply goes to the last ITR-RLOC",
        (
            Edit(
                f"{_ENGINE}context.py",
                "return next(self.reply_addresses(itr_rlocs), None)",
                "return next(self.reply_addresses(reversed(tuple(itr_rlocs))), None)",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C06",
        "of a Map-Request with several records only the first is answered",
        (
            Edit(
                f"{_ENGINE}replies.py",
                "for question in request.records[:MAX_QUESTIONS]:  # answers to more would not fit a Map-Reply",
                "for question in request.records[:1]:",
            ),
        ),
        roles=("map-resolver",),
    ),
    Defect(
        "C07",
        "the upper half of each nonce is 0",
        (Edit(f"{_ENGINE}context.py", "return self._random(64)", "return self._random(32)"),),
        roles=("itr",),
    ),
    Defect(
        "C08",
        "after ten retransmissions the ITR is silent for 10 seconds, not 30",
        (Edit(f"{_ENGINE}requests.py", "SILENCE = 30.0", "SILENCE = 10.0"),),
        roles=("itr",),
    ),
    Defect(
        "C09",
        "Map-Replies are not rate-limited",
        (
            Edit(
                f"{_ENGINE}replies.py",
                " and limit.allows((destination, about), now, said)):",
                "):",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C10",
        "the Record TTL counts in seconds",
        (
            Edit(
                "nodes/lisp/map_cache.py",
                "expires_at = now + 60.0 * (LOCAL_TTL_MINUTES",
                "expires_at = now + 1.0 * (LOCAL_TTL_MINUTES",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "C11",
        "the Map-Server sets the A-bit when it answers for a site",
        (
            Edit(
                f"{_ENGINE}moves.py",
                "return replace(record, locators=locators, authoritative=False, action=Action.NO_ACTION)",
                "return replace(record, locators=locators, authoritative=True, action=Action.NO_ACTION)",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "C12",
        "packets for an EID whose mapping says policy-denied are dropped as if nobody had it",
        (
            Edit(
                "nodes/dataplane/decision.py",
                'prohibited = entry.reason in ("policy-denied", "auth-failure")',
                'prohibited = entry.reason == "auth-failure"',
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "C13",
        "the answer to a probe is not authoritative, and is believed all the same",
        (
            Edit(
                f"{_ENGINE}etr.py",
                "return record.prefix, replace(record, locators=locators, authoritative=True)",
                "return record.prefix, replace(record, locators=locators, authoritative=not probed)",
            ),
            Edit(
                f"{_ENGINE}acceptance.py",
                "if not all(record.authoritative for record in reply.records):",
                "if False:",
            ),
        ),
    ),
    Defect(
        "C14",
        "the answer to a probe marks no locator as the one that was probed",
        (Edit(f"{_ENGINE}etr.py", "replace(one, probed=one is marked)", "replace(one, probed=False)"),),
        roles=("etr",),
    ),
    Defect(
        "C15",
        "a mapping may have groups and broadcast addresses as locators",
        (
            Edit(
                f"{_ENGINE}acceptance.py",
                "if any(forbidden(record.locators) for record in records):",
                "if False:",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "C16",
        "locators stand in descending order",
        (
            Edit(
                f"{_ENGINE}database.py",
                "return EidRecord.of(mapping.prefix, mapping.ttl_minutes, sorted_locators(locators))",
                "return EidRecord.of(mapping.prefix, mapping.ttl_minutes, sorted_locators(locators)[::-1])",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "C17",
        "of the more-specifics inside one another an answer has the outer ones only",
        (
            Edit(
                f"{_ENGINE}mappings.py",
                "(inside[prefix] for prefix in ordered))",
                "(inside[one] for one in ordered if not any(o.covers(one) for o in ordered if o != one)))",
            ),
        ),
        data_path="python",
    ),
    Defect(
        "C18",
        "a less-specific mapping lasts as long as its own Record TTL says, whatever is inside it",
        (
            Edit(
                "nodes/lisp/map_cache.py",
                "if prefix != record.prefix and entry.expires_at is not None:",
                "if False:",
            ),
        ),
        roles=("itr",),
        data_path="python",
    ),
    Defect(
        "C29",
        "the checksum inside an Encapsulated Control Message may be wrong, or not there",
        (
            Edit("nodes/lisp/wire/inner.py", "if not given:", "if False:"),
            Edit(
                "nodes/lisp/wire/inner.py",
                "if checksum(_pseudo_header(addresses, length) + datagram):",
                "if False:",
            ),
        ),
        roles=("map-resolver",),
    ),
    Defect(
        "C30",
        "RLOC-probes are taken out of Encapsulated Control Messages",
        (
            Edit(
                f"{_ENGINE}replies.py",
                "if request.probe or request.smr:",
                "if request.smr:",
            ),
        ),
        roles=("map-server", "map-resolver"),
    ),
    Defect(
        "C31",
        "what a Solicit-Map-Request causes is asked for without the s-bit",
        (Edit(f"{_ENGINE}requests.py", "smr_invoked=resolution.smr_invoked,", "smr_invoked=False,"),),
        roles=("itr",),
    ),
    Defect(
        "C32",
        "a flood of Solicit-Map-Requests causes a Map-Request a second",
        (
            Edit(
                f"{_ENGINE}solicitations.py",
                "self._by_prefix: RateLimit[EidPrefix] = RateLimit()",
                "self._by_prefix: RateLimit[EidPrefix] = RateLimit(3, 0.1)",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "C33",
        "a Solicit-Map-Request for an EID that is not cached is followed",
        (
            Edit(
                f"{_ENGINE}solicitations.py",
                "outdated = self._map_cache.outdated(about)\n",
                "outdated = self._map_cache.outdated(about) or [about]\n",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "C34",
        "who had data within the last ten minutes is solicited",
        (Edit("nodes/dataplane/contacts.py", "SECONDS = 60.0", "SECONDS = 600.0"),),
        roles=("etr",),
        data_path="python",
    ),
    Defect(
        "C35",
        "ICMP errors take no locator down",
        (
            Edit(
                f"{_ENGINE}itr.py",
                "yield from self._prober.unreachable(error, now)",
                "yield from ()",
            ),
        ),
    ),
    Defect(
        "C36",
        "the mapping in the answer to a probe is not looked at",
        (Edit(f"{_ENGINE}itr.py", "if record.prefix == asked and self.map_cache.leads_to(asked, rloc):", "if False:"),),
    ),
    Defect(
        "C37",
        "a locator whose probes go unanswered stays up",
        (
            Edit(
                f"{_ENGINE}probing.py",
                'yield from self._set(probed, False, f"{TRIES} probes unanswered", now)',
                "yield from ()",
            ),
        ),
    ),
    Defect(
        "C40",
        "control messages over IPv4 are as long as an Ethernet has room for",
        (Edit(f"{_ENGINE}context.py", "return 576 - 20 - 8 if", "return 1500 - 20 - 8 if"),),
    ),
)
