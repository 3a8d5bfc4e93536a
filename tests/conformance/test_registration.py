"""Map-Register and Map-Notify (RFC 9301 sections 5.6, 5.7 and 8.2): caught on the wire, replayed, forged."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from ipaddress import ip_network
from typing import Any

import pytest

from nodes.lisp.config import Key
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.clock import LATE_S, Clock
from tests.conformance.tester.daemons import expect_drop, foreign, frozen, log_lines, map_cache, registrations
from tests.conformance.tester.mappings import any_host, registered, resolved, standing
from tests.conformance.tester.places import facing, rloc, uplink
from tests.conformance.tester.players import MapServer
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually, in_background
from tests.conformance.tester.watch import Seen, Watch

ETR = "xtr1"


def key(lab: Lab, node: str = ETR) -> Key:
    """The key that a site shares with the Map-Server."""
    config = lab[node].lisp
    assert config is not None
    return config.map_servers[0].key


def mapping(lab: Lab, node: str = ETR, ttl: int = 1440) -> bytes:
    """The record that the ETR of a site registers."""
    config = lab[node].lisp
    assert config is not None
    return wire.mapping(config.database[0].prefix.network, ttl, [(rloc(lab, node), 1, 100)])


def registered_by(lab: Lab, node: str) -> Seen:
    """Restart an ETR and return its Map-Register, as it arrived at the Map-Server."""
    with Watch(lab, ["ms"], exact=True) as watch:
        lab.restart(node)

        def mine() -> list[Seen]:
            return [one for one in watch.control(wire.MAP_REGISTER) if one.outer.source == rloc(lab, node)]

        return watch.until(mine, "a Map-Register")[0]


def is_registered(lab: Lab, network: str) -> bool:
    """Whether the Map-Server has a registration of an EID-prefix, as it answers."""
    return standing(lab, "ms", any_host(ip_network(network))).registered


@pytest.fixture
def unchanged(lab: Lab) -> Iterator[Callable[[], None]]:
    """Says, when called and at the end, that the registrations are what they were."""
    before = registered(lab, "ms")

    def check() -> None:
        assert registered(lab, "ms") == before

    yield check
    check()


def send(lab: Lab, message: bytes, node: str = ETR) -> None:
    """Send a Map-Register to the Map-Server, with the source address of an ETR."""
    ports = (45454, wire.CONTROL)
    inject(lab, uplink(lab, "ms"), packets.datagram(rloc(lab, node), rloc(lab, "ms"), ports, message))


@pytest.mark.requirement("C02", "C04", "C20", "C22", "C39")
def test_a_map_register_is_authenticated_and_names_its_sender(lab: Lab) -> None:
    """Algorithm ID 3 verified by other code, xTR-ID and Site-ID, reserved bits 0; the tester is the Map-Server."""
    for node, proxy_reply in ((ETR, 0), ("xtr2", 1)):
        with frozen(lab, "ms"), Watch(lab, [uplink(lab, node)], exact=True) as watch:
            server = MapServer.instead_of(lab, "ms", node, watch)
            restart = in_background(partial(lab.restart, node))
            seen = server.register()
            server.notify(seen)
            restart.join()
        message, config = seen.message, lab[node].lisp
        assert config is not None
        assert seen.outer.destination_port == wire.CONTROL
        with clause("C02"):
            assert seen.outer.checksum_is_right
        with clause("C04"):
            assert message.word | wire.WITH_XTR_ID == (
                3 << 28 | proxy_reply << 27 | wire.WITH_XTR_ID | wire.WANT_NOTIFY | 1
            )
        with clause("C39"):
            assert (message.key_id, message.algorithm) == (server.key_id, 3)
        with clause("C20"):
            assert server.believes(seen)
        with clause("C22"):
            assert message.word & wire.WITH_XTR_ID
            assert message.tail == bytes.fromhex(config.xtr_id) + config.site_id.to_bytes(8, "big")
        (record,) = message.records
        assert record.prefix == config.database[0].prefix.network
        assert [(one.rloc, one.bits) for one in record.locators] == [(rloc(lab, node), 0b101)]


@pytest.mark.requirement("C01", "C02", "C20", "C26")
def test_a_map_notify_acknowledges_it(lab: Lab) -> None:
    """One Map-Notify, to port 4342 of the ETR, with the nonce and records, signed with a key of its own."""
    core = uplink(lab, ETR)
    with Watch(lab, ["ms", ETR, core], exact=True) as watch:
        lab.restart(ETR)
        (notify,) = watch.until(lambda: watch.control(wire.MAP_NOTIFY, ETR), "a Map-Notify")
        (register,) = [one for one in watch.control(wire.MAP_REGISTER, "ms") if one.outer.source == rloc(lab, ETR)]
    assert notify.outer.source == rloc(lab, "ms")
    with clause("C01"):
        assert notify.outer.destination_port == wire.CONTROL
    with clause("C02"):
        assert notify.outer.checksum_is_right
    assert notify.message.word == 4 << 28 | 1
    assert notify.message.nonce == register.message.nonce
    assert notify.message.records == register.message.records
    with clause("C20"):
        wanted = wire.mac(notify.message.blank, notify.message.nonce, key(lab).secret, wire.MAP_NOTIFY)
        assert notify.message.authentication == wanted


@pytest.mark.requirement("C19", "C38")
def test_a_captured_map_register_cannot_be_replayed(lab: Lab, unchanged: Callable[[], None]) -> None:
    """Not at once, and not after a restart of the Map-Server or of the ETR; the log tells."""
    captured = registered_by(lab, ETR)
    packet = captured.outer.packet
    with clause("C19"), expect_drop(lab, "ms", "map-register-replay"):
        inject(lab, uplink(lab, "ms"), packet)
    lab.restart("ms")
    unchanged()

    def age() -> float:
        """Of the registration, in seconds; always the same where nobody tells it."""
        prefix = str(captured.message.records[0].prefix)
        return float(registrations(lab, "ms")[prefix]["age_s"]) if lab.tells("ms", "registrations") else 0.0

    before = age()
    with clause("C38"):
        with Watch(lab, [uplink(lab, "ms")]) as watch, expect_drop(lab, "ms", "map-register-replay"):
            inject(lab, uplink(lab, "ms"), packet)
            watch.drain()
            assert captured.message.nonce not in [one.message.nonce for one in watch.control(wire.MAP_NOTIFY)]
        assert age() >= before
    if not foreign(lab, "ms"):
        reasons = [one["fields"]["reason"] for one in log_lines(lab, "ms") if one["event"] == "dropped"]
        assert reasons[-1] == "map-register-replay"


@pytest.mark.requirement("C19", "C38")
def test_nonces_increase_from_one_run_of_an_etr_to_the_next(lab: Lab) -> None:
    nonces = [registered_by(lab, ETR).message.nonce for _ in range(3)]
    assert nonces == sorted(set(nonces))


C20, C39 = pytest.mark.requirement("C20"), pytest.mark.requirement("C39")


@pytest.mark.parametrize(
    "forgery",
    [
        pytest.param({"secret": "another secret"}, marks=C20),
        pytest.param({"secret": ""}, marks=C20),
        pytest.param({"key_id": 2}, marks=C39),
        pytest.param({"algorithm": 0}, marks=C20),
        pytest.param({"algorithm": 1}, marks=C20),
        pytest.param({"algorithm": 2}, marks=C20),
        pytest.param({"algorithm": 9}, marks=C20),
        pytest.param({"weaker": 2}, marks=C20),
        pytest.param({"truncated": True}, marks=C20),
    ],
    ids=str,
)
def test_a_map_register_that_is_not_the_sites_is_refused(
    lab: Lab, unchanged: Callable[[], None], forgery: dict[str, Any]
) -> None:
    """Wrong secret, Key ID or Algorithm ID, no MAC, a right one of a weaker algorithm; no Map-Notify goes out."""
    identity = (b"the forger's own", 1)  # were it taken, the ETR's own nonces would still count
    secret = forgery.get("secret", key(lab).secret)
    key_id = forgery.get("key_id", key(lab).key_id)
    algorithm = forgery.get("weaker", key(lab).algorithm)
    records = [mapping(lab)]
    message = wire.map_register(1 << 63, records, secret, key_id=key_id, algorithm=algorithm, identity=identity)
    if "algorithm" in forgery:
        message = message[:13] + bytes([forgery["algorithm"]]) + message[14:]
    if "truncated" in forgery:
        message = message[:14] + bytes(2) + message[32:]
    with Watch(lab, [uplink(lab, "ms")]) as watch:
        with expect_drop(lab, "ms", "map-register-authentication"):
            send(lab, message)
        watch.drain()
        assert 1 << 63 not in [one.message.nonce for one in watch.control(wire.MAP_NOTIFY)]


@pytest.mark.requirement("M03")
def test_foreign_prefixes_are_refused_whole(lab: Lab, unchanged: Callable[[], None]) -> None:
    """Another site's prefix, a more-specific, a less-specific, each beside the site's own and alone."""
    own = mapping(lab)
    config = lab[ETR].lisp
    assert config is not None
    network = config.database[0].prefix.network
    there = [(rloc(lab, ETR), 1, 100)]
    foreign = [mapping(lab, "xtr2"), wire.mapping(f"{network[5]}/32", 1440, there)]
    foreign += [wire.mapping(network.supernet(), 1440, there), wire.mapping("0.0.0.0/0", 1440, there)]
    # A prefix of another site alone is that site's registration, with a wrong key.
    with expect_drop(lab, "ms", "map-register-authentication"):
        send(lab, wire.map_register(1 << 63, [foreign[0]], key(lab).secret))
    try:
        with expect_drop(lab, "ms", "map-register-foreign-prefix", 3 * len(foreign) - 1):
            for record in foreign:
                for records in ([record], [own, record], [record, own])[record is foreign[0] :]:
                    send(lab, wire.map_register(1 << 63, records, key(lab).secret))
    finally:  # who took it lets go of it, for the tests behind this one
        gone = wire.mapping(f"{network[5]}/32", 0, there)
        send(lab, wire.map_register((1 << 63) + 1, [gone], key(lab).secret))


@pytest.mark.requirement("C19", "C26")
def test_an_xtr_with_the_key_may_register(lab: Lab) -> None:
    """Nonces are kept for each xTR-ID; with M=0 no Map-Notify follows, with M=1 one; TTL 0 withdraws."""
    etr, secret, identity = facing(lab, uplink(lab, "ms"), "ms"), key(lab).secret, (b"another xTR, 128", 1)
    network = str(wire.read(wire.map_reply(0, mapping(lab))).records[0].prefix)
    sent = {}
    for nonce, flags, ttl in ((1, 0, 5), (2, wire.WANT_NOTIFY, 6), (3, 0, 0)):
        message = wire.map_register(nonce, [mapping(lab, ttl=ttl)], secret, flags=flags, identity=identity)
        sent[nonce] = packets.datagram(etr, rloc(lab, "ms"), (45454, wire.CONTROL), message)
    core = uplink(lab, "ms")
    with Watch(lab, [core]) as watch:

        def notified() -> list[int]:
            """The nonces of those to the xTR; who was registered before may be told as well (C27)."""
            return [one.message.nonce for one in watch.control(wire.MAP_NOTIFY) if one.outer.destination == etr]

        inject(lab, core, sent[1], sent[2])
        watch.until(notified, "a Map-Notify")
        with clause("C26"):
            assert notified() == [2]
        if lab.tells("ms", "registrations"):
            row = registrations(lab, "ms")[network]
            assert (row["etr"], row["xtr_id"]) == (str(etr), identity[0].hex())
        with clause("C19"), expect_drop(lab, "ms", "map-register-replay", 2):
            inject(lab, core, sent[1], sent[2])
        with clause("C26"):  # once, not again (the ETR's retransmission timer would be one second)
            assert notified().count(2) == 1
        inject(lab, core, sent[3])
    eventually(lambda: not is_registered(lab, network), "the withdrawal")
    lab.restart(ETR)
    assert standing(lab, "ms", any_host(ip_network(network))).etr == rloc(lab, ETR)


@pytest.mark.requirement("M05")
def test_a_site_that_nobody_registers_is_told_natively_forward(lab: Lab) -> None:
    """Withdrawn with TTL 0: natively-forward for a minute, until the site's xTR registers again."""
    config, captured = lab[ETR].lisp, registered_by(lab, ETR).message
    assert config is not None
    network = str(captured.records[0].prefix)
    identity = (bytes.fromhex(config.xtr_id), config.site_id)
    send(lab, wire.map_register(captured.nonce + 1, [mapping(lab, ttl=0)], key(lab).secret, identity=identity))
    eventually(lambda: not is_registered(lab, network), "the withdrawal")
    record = resolved(lab, "xtr3", lab["h1"].address).reply.message.records[0]
    assert (str(record.prefix), record.action, record.ttl) == (network, 1, 1)
    assert not record.authoritative
    if lab.tells("xtr3", "map-cache"):
        assert map_cache(lab, "xtr3")[network]["action"] == "natively-forward"
    # The test has used up the nonce that the ETR takes next; it is dropped, and the one after it a second later is not.
    lab.restart(ETR)
    eventually(lambda: is_registered(lab, network), "its return")


def test_a_map_notify_that_nobody_waits_for_is_dropped(lab: Lab) -> None:
    """A copy of the one that was taken."""
    with Watch(lab, ["xtr3"]) as watch:
        lab.restart("xtr3")
        seen = watch.until(lambda: watch.control(wire.MAP_NOTIFY, "xtr3"), "a Map-Notify")[0]
    with expect_drop(lab, "xtr3", "map-notify-unknown-nonce"):
        inject(lab, uplink(lab, "xtr3"), seen.outer.packet)


@pytest.mark.requirement("C20", "C25")
def test_a_forged_map_notify_acknowledges_nothing(lab: Lab) -> None:
    """Wrong MAC, wrong Key ID, wrong nonce: the ETR goes on registering until it is answered as it should be.

    One that is authentic, and has the nonce of no Map-Register, is news: it is acknowledged, and acknowledges nothing.

    The tester is the Map-Server; ours is silent until the end.
    """
    with frozen(lab, "ms"), Watch(lab, [uplink(lab, "xtr3")]) as watch:
        server = MapServer.instead_of(lab, "ms", "xtr3", watch)
        restart = in_background(lambda: lab.restart("xtr3"))
        first = server.register()
        with expect_drop(lab, "xtr3", "map-notify-authentication", 2):
            server.notify(first, secret="another secret")
            server.notify(first, key_id=server.key_id + 1)
        server.notify(first, nonce=first.message.nonce ^ 1 << 40)
        watch.until(lambda: watch.control(wire.MAP_NOTIFY_ACK), "a Map-Notify-Ack")
        second = server.register(2)
        server.notify(second)
        restart.join()  # a restart is over when the router has been acknowledged
    with clause("C25"):
        assert second.message.nonce > first.message.nonce
        Clock.of(lab).assert_between(first, second, 1, 1, late=LATE_S)
    if lab.tells("xtr3", "database"):
        assert lab.show("xtr3", "database")[0]["map_servers"][0]["state"] == "registered"


def of_node(watch: Watch, kind: int, at: str, address: Any) -> list[wire.Message]:
    """The messages of one type that arrived somewhere, to or from an RLOC."""
    seen = watch.control(kind, at)
    return [one.message for one in seen if address in (one.outer.source, one.outer.destination)]


@pytest.mark.requirement("C20", "C39")
def test_each_algorithm_is_spoken(fast: Lab) -> None:
    """Algorithm IDs 3, 2 and 1, the second with a Key ID of its own; Map-Notify by the same key."""
    found = set()
    for node in ("xtr1", "xtr2", "xtr3"):
        secret = key(fast, node)
        with Watch(fast, ["ms", node]) as watch:
            fast.restart(node)
            for kind, at in ((wire.MAP_REGISTER, "ms"), (wire.MAP_NOTIFY, node)):
                message = watch.until(partial(of_node, watch, kind, at, rloc(fast, node)), f"type {kind} at {at}")[0]
                assert (message.key_id, message.algorithm) == (secret.key_id, secret.algorithm)
                wanted = wire.mac(message.blank, message.nonce, secret.secret, kind, message.algorithm)
                assert message.authentication == wanted
                found.add((message.key_id, message.algorithm))
    assert found == {(1, 3), (7, 2), (1, 1)}


@pytest.mark.requirement("M03", "M05", "M09")
def test_a_hole_between_registered_hosts_is_the_least_specific(fast: Lab) -> None:
    """With two hosts of a /24 registered, its upper half is one negative answer of a minute."""
    config, secret = fast["xtr2"].lisp, key(fast, "xtr2")
    assert config is not None
    network = config.database[0].prefix.network
    captured = registered_by(fast, "xtr2").message
    with frozen(fast, "xtr2"):
        there = [(rloc(fast, "xtr2"), 1, 100)]
        records = [wire.mapping(network, 0), *(wire.mapping(f"{network[n]}/32", 1440, there) for n in (11, 12))]
        message = wire.map_register(
            captured.nonce + 16, records, secret.secret, key_id=secret.key_id, algorithm=secret.algorithm,
            identity=(bytes.fromhex(config.xtr_id), config.site_id),
        )  # fmt: skip
        ports = (45454, wire.CONTROL)
        inject(fast, uplink(fast, "ms"), packets.datagram(rloc(fast, "xtr2"), rloc(fast, "ms"), ports, message))
        eventually(lambda: standing(fast, "ms", network[12]).registered, "the registration of a host")
        upper = list(network.subnets())[1]
        record = standing(fast, "ms", network[200]).record
        with clause("M09"):
            assert record is not None
            assert (record.prefix, record.action) == (upper, 1)
        with clause("M05"):
            assert record is not None
            assert record.ttl == 1
        record = standing(fast, "ms", network[9]).record
        with clause("M09"):
            assert record is not None
            assert str(record.prefix) == f"{network[8]}/31"
