"""The mapping system and the proxies (rows M), and the brief's own rules (rows S)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit

_ENGINE = "nodes/lisp/engine/"

DEFECTS = (
    Defect(
        "M01",
        "an ETR registers again after 90 seconds, not 60",
        (
            Edit(
                f"{_ENGINE}registrar.py",
                "chunk.refreshed + self._context.config.registration_interval)",
                "chunk.refreshed + 1.5 * self._context.config.registration_interval)",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "M02",
        "an ETR that has started registers every ten seconds at first",
        (
            Edit(
                f"{_ENGINE}registrar.py",
                "chunk.refreshed + self._context.config.registration_interval)",
                "chunk.refreshed + (10 if self._nonce < self._before + 20 else "
                "self._context.config.registration_interval))",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "M03",
        "the Map-Server takes more-specifics of what is configured, wanted or not",
        (
            Edit(
                "nodes/lisp/registrations.py",
                "if found and (found[0] == prefix or found[1].accept_more_specifics):",
                "if found:",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "M04",
        "outside all EID-prefixes a negative Map-Reply holds for a minute, not 15",
        (Edit(f"{_ENGINE}mappings.py", "NO_SUCH_EID_TTL = 15", "NO_SUCH_EID_TTL = 1"),),
        roles=("map-resolver",),
    ),
    Defect(
        "M05",
        "where nobody registered, a negative Map-Reply holds for 15 minutes, not one",
        (Edit(f"{_ENGINE}map_server.py", "NOT_REGISTERED_TTL = 1", "NOT_REGISTERED_TTL = 15"),),
        roles=("map-server",),
    ),
    Defect(
        "M07",
        "the Map-Server forwards each Map-Request to the ETR twice",
        (
            Edit(
                f"{_ENGINE}replies.py",
                "yield Send(EncapsulatedControlMessage(ecm.inner).encode(), destination)",
                "yield from [Send(EncapsulatedControlMessage(ecm.inner).encode(), destination)] * 2",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "M08",
        "the Map-Server asks the ETR even where that wants it to answer",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "if registration.proxy_reply and not by_site:",
                "if False:",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "M09",
        "a negative Map-Reply names the half of the hole that the EID is in",
        (
            Edit(
                "nodes/lisp/holes.py",
                "return EidPrefix(eid.network.supernet(new_prefix=mask_len), eid.instance_id)",
                "half = min(mask_len + 1, eid.mask_len)\n"
                "    return EidPrefix(eid.network.supernet(new_prefix=half), eid.instance_id)",
            ),
        ),
        roles=("map-resolver",),
    ),
    Defect(
        "M10",
        "a Map-Server takes Map-Replies",
        (
            Edit(
                f"{_ENGINE}core.py",
                "MapReply: self._itr.map_reply if self._itr else None,",
                "MapReply: self._itr.map_reply if self._itr else lambda *_: iter(()),",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "M11",
        "a Map-Reply counts from the Map-Resolver's address, a Map-Server's or a locator's, and from no other",
        (
            Edit(
                f"{_ENGINE}itr.py",
                "if reason := refusal(reply, resolution.eid):",
                "config = self._context.config\n"
                "        known = {*config.map_resolvers, *(one.address for one in config.map_servers)}\n"
                "        known |= {one.address for record in reply.records for one in record.locators}\n"
                "        other = '' if arrival.source in known else 'other-source'\n"
                "        if reason := refusal(reply, resolution.eid) or other:",
            ),
        ),
        roles=("etr",),
    ),
    Defect(
        "M13",
        "a PITR asks without the p-bit",
        (Edit(f"{_ENGINE}itr.py", "pitr=not (for_site or for_eid))", "pitr=False)"),),
        roles=("pitr",),
    ),
    Defect(
        "M14",
        "a PETR forwards for anybody",
        (
            Edit(
                "nodes/dataplane/decision_inbound.py",
                "if not tables.aggregates.lookup_address(instance_id, packet.source):",
                "if False:",
            ),
        ),
        roles=("petr",),
    ),
    Defect(
        "M20",
        "of several addresses in a list the last one is lost",
        (
            Edit(
                "nodes/lisp/wire/addresses.py",
                "address = AfiList(tuple(members))",
                "address = AfiList(tuple(members[:-1]))",
            ),
        ),
        roles=("map-server",),
    ),
    Defect(
        "M22",
        "lig says that the router itself has answered",
        (Edit(f"{_ENGINE}itr.py", '"replier": str(arrival.source),', '"replier": str(arrival.destination),'),),
    ),
    Defect(
        "M17",
        "publications are numbered in steps of two",
        (Edit(f"{_ENGINE}subscription.py", "default=0) + self.step)", "default=0) + 1 + self.step)"),),
        roles=("map-server",),
    ),
    Defect(
        "M18",
        "whoever knows an xTR-ID subscribes, from anywhere",
        (
            Edit(
                f"{_ENGINE}subscribers.py",
                "known = all(is_of(subscriber, one) for one in (*places, *rlocs))",
                "known = True",
            ),
        ),
        roles=("map-server", "map-resolver"),
    ),
    Defect(
        "M24",
        "what a PITR has no mapping for goes back natively to where it came from",
        (
            Edit(
                "nodes/dataplane/decision.py",
                'return Drop("unregistered EID", Unreachable.HOST) if isinstance(verdict, Native) else verdict',
                "return verdict",
            ),
        ),
        roles=("pitr",),
        data_path="python",
    ),
    Defect(
        "S01",
        "hosts reach RLOCs by way of a PETR",
        (
            Edit(
                "nodes/dataplane/decision_inbound.py",
                "if tables.rloc_space.lookup_address(0, destination) or destination in tables.own:",
                "if destination in tables.own:",
            ),
        ),
        roles=("petr",),
    ),
    Defect(
        "S02",
        "what has a specific route is encapsulated",
        (
            Edit(
                "nodes/dataplane/decision.py",
                "if route is not None and route[1]:",
                "if False:",
            ),
            Edit(
                "nodes/dataplane/bpf/outbound.h",
                "if (route && *route != NATIVE_NULL0)",
                "if (!route && 0)",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "S03",
        "packets of sources outside the site's EID-prefixes are encapsulated",
        (
            Edit(
                "nodes/dataplane/decision.py",
                "if Role.ITR in tables.roles and is_of_the_site(packet.source, instance_id, tables):",
                "if Role.ITR in tables.roles:",
            ),
        ),
        roles=("itr",),
    ),
    Defect(
        "S04",
        "a PITR asks for everything by default, not for what is inside its aggregates alone",
        (
            Edit(
                f"{_ENGINE}itr.py",
                "defaults = set(config.eid_aggregates) if",
                "defaults = {everything(one) for one in config.eid_aggregates} if",
            ),
        ),
        roles=("pitr",),
        data_path="python",
    ),
    Defect(
        "S05",
        "the source of an outer header is the first RLOC, whatever link the packet leaves by",
        (
            Edit(
                "nodes/daemon/plumbing.py",
                "return route.source if route.source in self._tables.own else None",
                "return next(one for one in self._config.rlocs if one.version == locator.version)",
            ),
        ),
        roles=("itr",),
        data_path="python",
    ),
    Defect(
        "S07",
        "a router that is an ITR is no PITR",
        (
            Edit(
                "nodes/dataplane/decision.py",
                "elif Role.PITR in tables.roles and instance_id == 0:",
                "elif Role.PITR in tables.roles and Role.ITR not in tables.roles and instance_id == 0:",
            ),
        ),
        data_path="python",
    ),
    Defect(
        "S08",
        "inside an EID-prefix a negative Map-Reply is about the one EID that was asked for",
        (
            Edit(
                f"{_ENGINE}map_server.py",
                "hole = least_specific_hole(eid, self._registrations.known_inside(prefix), prefix)",
                "hole = eid",
            ),
        ),
        roles=("map-server",),
        data_path="python",
    ),
    Defect(
        "S09",
        "a Map-Resolver leaves it to a Map-Server to say what is no EID",
        (
            Edit(
                f"{_ENGINE}map_resolver.py",
                "found = self._delegations.lookup(eid)\n",
                "found = self._delegations.lookup(eid) or next(iter(self._delegations.items()), None)\n",
            ),
        ),
        roles=("map-resolver",),
    ),
    Defect(
        "S11",
        "other priorities and weights of the same locators do not reach the data path",
        (
            Edit(
                "nodes/lisp/map_cache.py",
                "if there is None or there.forwarding != entry.forwarding or not entry.forwarding.locators:",
                "places = [[one.address for one in two.forwarding.locators] for two in (there or entry, entry)]\n"
                "        if there is None or places[0] != places[1] or not places[1]:",
            ),
        ),
        roles=("itr",),
    ),
)
