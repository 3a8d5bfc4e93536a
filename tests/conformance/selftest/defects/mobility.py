"""Hosts that move: who is told of it, and who lets go (rows X, and what else only moves show)."""

from __future__ import annotations

from tests.conformance.selftest.defect import Defect, Edit

_ENGINE = "nodes/lisp/engine/"
_DYNAMIC = "nodes/daemon/dynamic_eids.py"


def _defect(requirement: str, broken: str, *how: Edit, roles: tuple[str, ...] = ("etr",)) -> Defect:
    """One that is seen by the Python data path: the control plane, which moves are about, is the same on both."""
    return Defect(requirement, broken, how, roles, data_path="python")


DEFECTS = (
    _defect(
        "X01",
        "a frame for a host that is known shows nobody",
        Edit(
            "nodes/dataplane/first_frames.py",
            "if source is None:",
            "to = source and _address(frame[30:34] if source.version == 4 else frame[38:54])\n"
            "            if source is None or to in self._known[instance_id]:",
        ),
    ),
    _defect(
        "X02",
        "whatever source a packet has, that is a host: nobody is asked whether it is there",
        Edit(_DYNAMIC, "self._look_for(port, eid.address)", "(self._step(HostSeen(eid, port.interface)) or 1)"),
    ),
    _defect(
        "X03",
        "the xTR that a host left is told of its new mapping for a minute only",
        Edit(
            f"{_ENGINE}moves.py",
            "self._tell(one, [now])",
            "self._tell(one, [replace(now, ttl_minutes=1) if one in before else now])",
        ),
        roles=("map-server",),
    ),
    _defect(
        "X04",
        "the xTR that a host left does not say that its registration has ended",
        Edit(
            f"{_ENGINE}handover.py",
            "yield from self._registrar.register([replace(one, ttl_minutes=0) for one in ended], now)",
            "yield from ()",
        ),
    ),
    _defect(
        "X05",
        "the xTR that a host left registers it again after a minute",
        Edit(
            f"{_ENGINE}registrar.py",
            "in withdrawn:\n            self._take_out(chunk, prefix)",
            "in withdrawn:\n            chunk.records[prefix] = replace(chunk.records[prefix], ttl_minutes=1440)",
        ),
    ),
    _defect(
        "X06",
        "who still sends data to the old place is not solicited because of it",
        Edit(
            f"{_ENGINE}handover.py",
            "yield from self._solicitor.solicit(record, [stray.rloc], now)",
            "yield from ()",
        ),
    ),
    _defect(
        "X07",
        "an answer with nothing but other locators ends the mapping, and the next packet asks once more",
        Edit(
            f"{_ENGINE}itr.py",
            "for record in answer.records:\n                yield from self._store(record, now)",
            "for record in answer.records:\n"
            "                known = self.map_cache.lookup(record.prefix)\n"
            "                before = {one.address for one in known.locators} if known else set()\n"
            "                others = before and not before & {one.address for one in record.locators}\n"
            "                yield from self._store(replace(record, ttl_minutes=0) if others else record, now)",
        ),
        roles=("itr", "pitr"),
    ),
    _defect(
        "X08",
        "four Null0 routes cover a permitted subnet, one for each quarter",
        Edit("nodes/daemon/native_routes.py", "narrower.subnets()", "narrower.subnets(prefixlen_diff=2)"),
    ),
    _defect(
        "X09",
        "the standby waits for a minute until it takes a silent gateway for dead",
        Edit(f"{_ENGINE}election.py", "peer.heard_at + DEAD", "peer.heard_at + 60"),
        Edit(f"{_ENGINE}election.py", "one.heard_at + DEAD", "one.heard_at + 60"),
    ),
    _defect(
        "X10",
        "the home of a host that is away is told of its mapping for a minute only",
        Edit(
            f"{_ENGINE}moves.py",
            "self._tell(one, [now])",
            "self._tell(one, [now if one in before else replace(now, ttl_minutes=1)])",
        ),
        roles=("map-server",),
    ),
    _defect(
        "X11",
        "the neighbours of a host that has left are told only when they send to it",
        Edit(
            _DYNAMIC,
            "self._announce(effect.eid, host.interface if host else self._plumbing.interface_of(effect.eid), None)",
            "del host",
        ),
    ),
    _defect(
        "X12",
        "the first request for an absent host is answered",
        Edit(
            "nodes/daemon/proxy_replies.py",
            "elif asking.requests <= permitted[1].proxy_reply_requests:",
            "elif False:",
        ),
    ),
    _defect(
        "X13",
        "an ITR lets a TCP session through only if it has seen how that began",
        Edit(
            "nodes/dataplane/outbound.py",
            "        headers = parse(packet)\n",
            "        headers = parse(packet)\n"
            '        begun = self.__dict__.setdefault("_begun", set())\n'
            "        session = headers.source, headers.destination, headers.ports\n"
            "        if headers.protocol == 6 and packet[headers.header_length + 13] & 2:\n"
            "            begun.add(session)\n"
            "        elif headers.protocol == 6 and not self._transit and session not in begun:\n"
            '            return flows.dropping(Drop("no such session"), context, self._instance_id)\n',
        ),
        roles=("itr",),
    ),
    _defect(
        "X14",
        "the home of a host that has returned keeps its mapping at the other site",
        Edit(
            f"{_ENGINE}handover.py",
            "yield from self._learn(replace(EidRecord.of(eid, 0, ()), authoritative=True), now)",
            "yield from ()",
        ),
    ),
    _defect(
        "X15",
        "an xTR registers once in a second and a half, whatever hosts come meanwhile",
        Edit(f"{_ENGINE}registrar.py", "FEW, GATHERING = 4, 0.02", "FEW, GATHERING = 1, 1.5"),
    ),
    _defect(
        "X16",
        "a subscriber acknowledges what is published, and goes on as before",
        Edit(
            f"{_ENGINE}publications.py",
            "yield from self._cache.store(EidRecord.of(record.prefix, 0) if here else record, now)",
            "del here",
        ),
        roles=("itr",),
    ),
    _defect(
        "X17",
        "a Map-Notify that is sent again is not signed with the site's key",
        Edit(
            f"{_ENGINE}notifier.py",
            "sealed(notify, key.secret)",
            'sealed(notify, "" if news.repetition.repeated else key.secret)',
        ),
        roles=("map-server",),
    ),
    _defect(
        "X18",
        "after a restart nobody registers a host but the xTR that had it before",
        Edit(
            f"{_ENGINE}map_server.py",
            "            self._registrations.register(one)\n",
            "            self._registrations.register(one)\n"
            '            self.__dict__.setdefault("_had", {}).setdefault(one.record.prefix, set()).add(one.xtr)\n',
        ),
        Edit(
            f"{_ENGINE}map_server.py",
            "        elif self._registrations.register(registration):",
            '        elif registration.xtr in self.__dict__.get("_had", {}).get(prefix, [registration.xtr]) and (\n'
            "            self._registrations.register(registration)\n"
            "        ):",
        ),
        roles=("map-server",),
    ),
    _defect(
        "C27",
        "the intervals at which a Map-Notify is repeated do not grow",
        Edit(f"{_ENGINE}repetition.py", "self.interval *= 2", "self.interval *= 1"),
        roles=("map-server",),
    ),
    _defect(
        "C28",
        "a Map-Notify-Ack says everything twice",
        Edit(
            f"{_ENGINE}map_notifies.py",
            "MapNotifyAck(notify.nonce, key.key_id, key.algorithm, notify.records)",
            "MapNotifyAck(notify.nonce, key.key_id, key.algorithm, notify.records * 2)",
        ),
    ),
    _defect(
        "S06",
        "of several gateways in one subnet a router is one only",
        Edit(
            "nodes/daemon/gateways.py",
            "    return (*gateway.addresses, *gateway.foreign)",
            "    of_subnet = {one.network: one for one in sorted((*gateway.addresses, *gateway.foreign), key=int)}\n"
            "    return tuple(of_subnet.values())",
        ),
    ),
    _defect(
        "S14",
        "in the first segment by a new mapping two words change places",
        Edit(
            "nodes/dataplane/outbound.py",
            "                flow = self._decide(packet, key, came_from)\n",
            "                flow = self._decide(packet, key, came_from)\n"
            "                if protocol == 6 and len(packet) > 100:\n"
            "                    packet = packet[:-4] + packet[-2:] + packet[-4:-2]\n",
        ),
        roles=("itr", "pitr"),
    ),
    _defect(
        "S15",
        "a mapping whose locators are all others than before is not taken in",
        Edit(
            f"{_ENGINE}itr.py",
            "yield from self.map_cache.store(record, now)",
            "known = self.map_cache.lookup(record.prefix)\n"
            "        before = {one.address for one in known.locators} if known else set()\n"
            "        others = {one.address for one in record.locators}\n"
            "        if not before or not others or before & others:\n"
            "            yield from self.map_cache.store(record, now)",
        ),
        roles=("itr", "pitr"),
    ),
)
