"""What a router's process says of itself; one that does not say is judged by its packets. It can be made to stop."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from testbed.drivers import NotTold
from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.places import facing, rloc, uplink
from tests.conformance.tester.traffic import SINK, inject
from tests.conformance.tester.waiting import eventually, in_background
from tests.conformance.tester.watch import Watch

QUESTION = 40405  # the port that asks whether a router still answers


def dropped(lab: Lab, node: str, reason: str) -> int:
    """How many control messages a node dropped for a reason."""
    return int(lab.show(node, "statistics")["control"].get(f"dropped-{reason}", 0))


@contextmanager
def expect_drop(lab: Lab, node: str, reason: str, count: int = 1) -> Iterator[None]:
    """What happens inside makes a node drop ``count`` control messages for that reason.

    A node that does not tell what it drops answers none of it, and answers a good question afterwards.
    """
    if not lab.tells(node, "statistics"):
        with unanswered(lab, node):
            yield
        return
    before = dropped(lab, node, reason)
    yield
    eventually(lambda: dropped(lab, node, reason) >= before + count, f"{node} drops: {reason}")
    assert dropped(lab, node, reason) == before + count


@contextmanager
def unanswered(lab: Lab, node: str) -> Iterator[None]:
    """What happens inside makes a node send no Map-Reply and no Map-Notify; then it answers a good question.

    Raises:
        NotTold: It has no role that answers questions, so that its silence says nothing.
    """
    core = uplink(lab, node)
    with Watch(lab, [core]) as watch:
        yield
        nonce, question = _good_question(lab, node, core)
        inject(lab, core, question)
        watch.until(lambda: _with_nonce(watch, core, node, nonce), f"{node} answers a good question")
        # Whatever came to the core has its answer too: probes and registrations of other routers go on meanwhile.
        others = [one.payload for frame, one in watch.datagrams(wire.CONTROL, core) if frame.interface != node]
        answers = [
            one.message
            for kind in (wire.MAP_REPLY, wire.MAP_NOTIFY)
            for one in watch.control(kind, core)
            if one.frame.interface == node
        ]
        nonces = [one.nonce.to_bytes(8, "big") for one in answers]
        assert [one for one in nonces if one != nonce and not any(one in other for other in others)] == []


def settled(lab: Lab, node: str) -> None:
    """Return when a node has handled what came before: it says something of itself, or answers a question.

    Raises:
        NotTold: It has no role that answers questions either.
    """
    if lab.tells(node, "roles"):
        lab.show(node, "roles")
        return
    core = uplink(lab, node)
    with Watch(lab, [core]) as watch:
        nonce, question = _good_question(lab, node, core)
        inject(lab, core, question)
        watch.until(lambda: _with_nonce(watch, core, node, nonce), f"{node} answers a good question")


def _with_nonce(watch: Watch, core: str, node: str, nonce: bytes) -> bool:
    """Whether a router has sent a control message with that nonce to the core."""
    sent = [one for frame, one in watch.datagrams(wire.CONTROL, core) if frame.interface == node]
    return any(nonce in one.payload for one in sent)


def _good_question(lab: Lab, node: str, core: str) -> tuple[bytes, bytes]:
    """Something that any router of these roles answers or passes on: its nonce, which is in the answer, and it."""
    config, target = lab[node].lisp, rloc(lab, node)
    assert config is not None
    own = [one.prefix.network for one in config.database]
    served = [one.prefix.network for site in config.sites for one in site.prefixes]
    known = own or served or [one.prefix.network for one in config.delegations]
    if not known:
        raise NotTold(f"{foreign(lab, node)} does not tell what {node} drops")
    # Any host of it: of one EID, only the first questions within a while are answered (RFC 9301 section 5.4).
    eid = known[0][secrets.randbelow(known[0].num_addresses)]
    address, nonce = facing(lab, core, node, target.version), secrets.token_bytes(8)
    request = wire.map_request(int.from_bytes(nonce), [eid], [address])
    message = request if own else wire.ecm(address, QUESTION, eid, request)
    return nonce, packets.datagram(address, target, (QUESTION, wire.CONTROL), message)


def foreign(lab: Lab, node: str) -> str:
    """What runs on a node in place of our daemon, "" where our daemon does."""
    return str(next(one for one in lab.status()["nodes"] if one["name"] == node).get("implementation", ""))


def pid(lab: Lab, node: str) -> int:
    """The process ID, inside the box, of a node's daemon."""
    return int(next(one for one in lab.status()["nodes"] if one["name"] == node)["pid"])


@contextmanager
def frozen(lab: Lab, node: str) -> Iterator[None]:
    """The daemon of a node stands still: its sockets are open, nothing answers."""
    process = str(pid(lab, node))
    whole = f"-{process}" if foreign(lab, node) else process  # what it started is of its session
    assert lab.run(node, ["kill", "-STOP", "--", whole]).returncode == 0
    try:
        yield
    finally:
        lab.run(node, ["kill", "-CONT", "--", whole])


@contextmanager
def deaf(lab: Lab, node: str) -> Iterator[None]:
    """What control messages come to a node meanwhile are lost on its way in; captures see them."""
    chain = f"chain in {{ type filter hook input priority 0; udp dport {wire.CONTROL} drop; }}"
    assert lab.run(node, ["nft", f"table inet deaf {{ {chain}; }}"]).returncode == 0
    try:
        yield
    finally:
        lab.run(node, ["nft", "delete", "table", "inet", "deaf"])


def map_cache(lab: Lab, node: str) -> dict[str, dict[str, Any]]:
    """The map-cache of a node by EID-prefix."""
    return {row["eid"]: row for row in lab.show(node, "map-cache")}


def registrations(lab: Lab, node: str) -> dict[str, dict[str, Any]]:
    """The registrations at a Map-Server by EID-prefix."""
    return {row["eid"]: row for row in lab.show(node, "registrations")}


def lasting(rows: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The rows without the columns that time and packets change."""
    passing = ("uptime_s", "expires_s", "age_s", "idle_s", "packets", "bytes", "fast_packets")
    return {eid: {key: value for key, value in row.items() if key not in passing} for eid, row in rows.items()}


def asking(lab: Lab, node: str, eid: Any, timeout: float = 5.0) -> threading.Thread:
    """Have an ITR ask for an EID: by hand where it can be told to, else by a packet of a host behind it."""
    if lab.tells(node, "lig"):
        return in_background(lambda: lab.lig(node, str(eid), timeout=timeout))
    host = next(one for one in lab.topology.hosts if one.site == lab[node].site)
    sent = packets.datagram(host.address_of(eid.version), eid, (7777, SINK), b"asking")
    return in_background(lambda: inject(lab, host.name, sent))


def log_lines(lab: Lab, node: str) -> list[dict[str, Any]]:
    """A node's log, read.

    Raises:
        NotTold: It does not run our daemon, and what its log says is its own affair.
    """
    if name := foreign(lab, node):
        raise NotTold(f"{name} does not tell its events")
    return [json.loads(line) for line in lab.log(node)]
