"""Hostile datagrams at every daemon's ports: nothing dies, nothing grows, nothing is believed."""

from __future__ import annotations

import json
import random
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from testbed.lab import Lab
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import lasting, log_lines, map_cache, pid, registrations
from tests.conformance.tester.places import facing, rloc, uplink
from tests.conformance.tester.players import Attacker
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Watch

DATAGRAMS = 3000
BATCH = 100
GROWTH_KB = 4096
DAEMONS = ("ms", "mr", "pxtr", "xtr1", "xtr2", "xtr3")


@pytest.fixture(scope="module")
def samples(lab: Lab) -> list[bytes]:
    """Control messages of all types and LISP data packets, off the wire of this lab."""
    with Watch(lab, [*DAEMONS, *(router.name for router in lab.topology.core)]) as watch:
        for node in DAEMONS:
            lab.restart(node)
        for source, target in (("h1", "h4"), ("h4", "b1"), ("b1", "h1"), ("client", "h4"), ("h1", "client")):
            assert lab.run(source, ["ping", "-c", "1", "-W", "10", str(lab[target].address)]).returncode == 0
        watch.drain()
        found = [one.payload for port in (wire.CONTROL, packets.DATA) for _, one in watch.datagrams(port)]
    assert {one[0] >> 4 for one in found} >= {0, wire.MAP_REPLY, wire.MAP_REGISTER, wire.MAP_NOTIFY, wire.ECM}
    found += [one[32:] for one in found if one[0] >> 4 == wire.ECM]
    return found


def hostile(chance: random.Random, samples: list[bytes]) -> Iterator[bytes]:
    """Datagrams at random: noise, noise behind a good first byte, and real messages bent in several ways."""
    types = [kind << 4 for kind in range(16)]
    while True:
        sample = bytearray(chance.choice(samples))
        match chance.randrange(6):
            case 0:
                yield chance.randbytes(chance.randrange(1, 600))
            case 1:
                yield bytes([chance.choice(types)]) + chance.randbytes(chance.randrange(0, 200))
            case 2:
                yield bytes(sample[: chance.randrange(len(sample))]) or b"\0"
            case 3:
                for _ in range(chance.randrange(1, 8)):
                    sample[chance.randrange(len(sample))] = chance.randrange(256)
                yield bytes(sample)
            case 4:
                at = chance.randrange(len(sample))
                yield bytes(sample[:at]) + chance.randbytes(chance.randrange(1, 64)) + bytes(sample[at:])
            case _:
                # Lengths and counts to their limits.
                at = chance.randrange(len(sample))
                sample[at] = chance.choice((0, 0x7F, 0x80, 0xFF))
                yield bytes(sample) * chance.choice((1, 1, 2))


def memory_kb(lab: Lab, node: str) -> int:
    """The private memory of a node's daemon."""
    text = lab.run(node, ["cat", f"/proc/{pid(lab, node)}/smaps_rollup"]).stdout
    return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith(("Private_Dirty", "Swap:")))


def handled(lab: Lab, node: str) -> int:
    """How many datagrams, good and bad, a daemon has done with."""
    shown = lab.show(node, "statistics")
    received = ("received-", "dropped-not-a-control-port", "dropped-malformed")
    control = sum(count for name, count in shown["control"].items() if name.startswith(received))
    return int(control) + int(shown["data"].get("decapsulated_packets", 0)) + sum(shown["drops"].values())


def believed(lab: Lab) -> dict[str, Any]:
    """Everything that a daemon has learned from others."""
    caches = {node: lasting(map_cache(lab, node)) for node in ("pxtr", "xtr1", "xtr2", "xtr3")}
    databases = {node: lab.show(node, "database") for node in ("xtr1", "xtr2", "xtr3")}
    states = {node: [peer["state"] for row in rows for peer in row["map_servers"]] for node, rows in databases.items()}
    return {"caches": caches, "registrations": lasting(registrations(lab, "ms")), "states": states}


def is_true(lab: Lab, row: dict[str, Any]) -> bool:
    """Whether a map-cache row says what the topology says."""
    if row["source"] == "default":
        return bool(row["action"] == "send-map-request")
    truth = {
        str(mapping.prefix.network): [str(locator.address) for locator in mapping.locators]
        for node in lab.topology.lisp_routers
        if node.lisp
        for mapping in node.lisp.database
    }
    locators = [one["rloc"] for one in row["locators"]]
    return locators == truth.get(row["eid"], []) and row["action"] == (
        "encapsulate" if locators else "natively-forward"
    )


@pytest.mark.parametrize("node", DAEMONS)
def test_hostile_datagrams_change_nothing(lab: Lab, samples: list[bytes], node: str) -> None:
    """Thousands of them at ports 4341 and 4342, the ephemeral one included."""
    chance = random.Random(f"hostile {node}")
    core, target = uplink(lab, node), rloc(lab, node)
    sources = [facing(lab, core, node), *(rloc(lab, one) for one in DAEMONS if one != node)]
    before, process, memory = believed(lab), pid(lab, node), memory_kb(lab, node)
    bad = hostile(chance, samples)
    ports = [(wire.CONTROL, wire.CONTROL), (40000, wire.CONTROL), (61000, packets.DATA)]
    for _ in range(DATAGRAMS // BATCH):
        sent = (
            packets.datagram(chance.choice(sources), target, chance.choice(ports), next(bad)[:1400])
            for _ in range(BATCH)
        )
        inject(lab, core, *sent)
        lab.show(node, "roles")  # it answers; and it has the time to read them
    assert pid(lab, node) == process
    assert next(one["state"] for one in lab.status()["nodes"] if one["name"] == node) == "ready"
    after = believed(lab)
    for one in ("registrations", "states"):
        assert after[one] == before[one]
    for one, cache in after["caches"].items():
        # What is new was asked for, for packets that a LISP header hid were forwarded or refused; it is the truth.
        assert {eid: cache.get(eid) for eid in before["caches"][one]} == before["caches"][one]
        assert [row for row in cache.values() if not is_true(lab, row)] == []
    assert memory_kb(lab, node) - memory <= GROWTH_KB
    assert [one for one in log_lines(lab, node) if one["event"] == "crash"] == []


def test_the_datagrams_were_read(lab: Lab) -> None:
    """The flood above was not lost on its way: each daemon has looked at most of it."""
    for node in DAEMONS:
        expected = DATAGRAMS // 3 if node in ("ms", "mr") else DATAGRAMS // 2
        eventually(lambda node=node, expected=expected: handled(lab, node) > expected, f"{node} reads them")


def test_logs_stay_small_under_attack(lab: Lab) -> None:
    """Drops are logged, a line a second for each reason and not one for each datagram."""
    for node in DAEMONS:
        lines = log_lines(lab, node)
        assert len([one for one in lines if one["event"] == "dropped"]) < DATAGRAMS / 20
        assert [one for one in lines if one["event"] == "dropped"]


def test_counters_have_names_of_ours_only(lab: Lab) -> None:
    """The keys of the statistics are no more after the attack than the code knows."""
    for node in DAEMONS:
        shown = lab.show(node, "statistics")
        assert len(shown["control"]) < 60
        assert len(shown["drops"]) < 30
        assert json.dumps(shown).isascii()


@pytest.mark.requirement("C07")
def test_a_flood_of_forged_replies_does_not_stop_a_resolution(lab: Lab) -> None:
    """While thousands of replies with wrong nonces come in, the right one is found."""
    lab.restart("xtr1")
    wrong = wire.mapping("0.0.0.0/0", 1440, [(rloc(lab, "xtr3"), 1, 100)])
    flood = [wire.map_reply(nonce, wrong) for nonce in range(1000)]
    with Watch(lab, [uplink(lab, "xtr1")]) as watch:
        attacker = Attacker(lab, "xtr1", watch)
        ports, source = (wire.CONTROL, wire.CONTROL), rloc(lab, "mr")
        attacker.flood(*flood, ports=ports, source=source)
        answer = lab.lig("xtr1", str(lab["h4"].address))
        attacker.flood(*flood, ports=ports, source=source)
    assert answer["records"][0]["locators"][0]["rloc"] == str(rloc(lab, "xtr2"))
    assert set(map_cache(lab, "xtr1")) == {"0.0.0.0/0", answer["records"][0]["eid"]}
    assert map_cache(lab, "xtr1")["0.0.0.0/0"]["source"] == "default"


def nested(depth: int) -> bytes:
    """A Map-Request whose EID is an instance-ID LCAF inside another, many times."""
    address = b"\0\0"
    for _ in range(depth):
        address = struct.pack("!HBBBBHI", 16387, 0, 0, 2, 0, 4 + len(address), 7) + address
    head = struct.pack("!IQHHI", wire.MAP_REQUEST << 28 | 1, 5, 0, 1, 0x0A000001)
    return head + b"\0\0" + address


@pytest.mark.parametrize("message", [lambda: nested(80), lambda: b"\x80\0\0\0" * 300], ids=["nested LCAF", "ECMs"])
def test_nesting_is_no_way_to_a_crash(lab: Lab, message: Callable[[], bytes]) -> None:
    """Addresses inside addresses, messages inside messages."""
    for node in DAEMONS:
        core, target, process = uplink(lab, node), rloc(lab, node), pid(lab, node)
        inject(lab, core, packets.datagram(facing(lab, core, node), target, (4000, wire.CONTROL), message()))
        lab.show(node, "roles")
        assert pid(lab, node) == process
