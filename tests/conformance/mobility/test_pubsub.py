"""Who has subscribed is told by the Map-Server when a host moves; nobody else can subscribe in his name (RFC 9437)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any

import pytest

from testbed.act.mobility.probes import Probes, Seen
from testbed.act.ping import first_reply
from testbed.lab import Lab
from tests.conformance.clause import clause
from tests.conformance.tester import packets, wire
from tests.conformance.tester.daemons import frozen
from tests.conformance.tester.mappings import registrations
from tests.conformance.tester.packets import IPAddress
from tests.conformance.tester.places import facing, rloc, uplink
from tests.conformance.tester.players import fresh_nonce
from tests.conformance.tester.traffic import inject
from tests.conformance.tester.waiting import eventually
from tests.conformance.tester.watch import Seen as Message
from tests.conformance.tester.watch import Watch, inner_request

pytestmark = pytest.mark.alone
MOBILE, HOME, AWAY = "mobile", "xtr1", "xtr2"
TOLD, SOLICITED = "xtr3", "xtr4"
CORRESPONDENTS = {"b2": SOLICITED, "b1": TOLD}
"""Who has subscribed asks last: where both had to ask anew, a Map-Request a second, it would be the later one."""
PROXIES = ("pxtr", "rtr")
"""A PITR and an RTR subscribe as an ITR does."""
EidNetwork = IPv4Network | IPv6Network
POLICY_DENIED, AUTH_FAILURE = 4, 5


@dataclass(frozen=True)
class Moving:
    """A host that moves, and its world of one IP version."""

    lab: Lab
    version: int

    @property
    def eid(self) -> EidNetwork:
        """The mobile host's."""
        address = self.lab[MOBILE].address_of(self.version)
        return ip_network(f"{address}/{address.max_prefixlen}")

    def secret(self, node: str = TOLD) -> str:
        """That of a subscriber."""
        return str(self.lab[node].lisp.subscription_keys[0].secret)  # type: ignore[union-attr]

    @property
    def identity(self) -> bytes:
        """The subscriber's xTR-ID and Site-ID."""
        config = self.lab[TOLD].lisp
        assert config is not None
        return bytes.fromhex(config.xtr_id) + config.site_id.to_bytes(8, "big")

    def settle(self, site: str) -> None:
        """The host is at a site, and both branches know that."""
        came = self.lab.places()[MOBILE] != site
        if came:
            self.lab.move(MOBILE, site)
        place = {"dc1": HOME, "dc2": AWAY}[site]
        # Who asks before it is registered is told so, and who has not subscribed believes that for a minute.
        eventually(lambda: str(self.eid) in registrations(self.lab, "ms"), f"{MOBILE} is registered")
        for one in CORRESPONDENTS:
            first_reply(self.lab, one, MOBILE, within=20, version=self.version)
        wanted = [str(rloc(self.lab, place))]
        eventually(
            lambda: all(cached(self.lab, one, self.eid) == wanted for one in CORRESPONDENTS.values()),
            f"both branches send to {place}",
        )
        if came:
            # It stays for a while: one that is here and there again within 0.3 s is taken for two hosts.
            there = str(self.lab["b1"].address_of(self.version))
            assert self.lab.run(MOBILE, ["ping", "-c", "5", "-i", "0.1", "-W", "2", there]).returncode == 0

    def subscribed(self) -> set[tuple[str, str, tuple[str, ...]]]:
        """The subscriptions that the Map-Server holds for good: what, who, where."""
        rows = self.lab.show("ms", "subscriptions")
        return {(one["eid"], one["xtr_id"], tuple(one["to"])) for one in rows if one["state"] != "pending"}

    def saying(self, watch: Watch, node: str, place: str) -> list[Message]:
        """The Map-Notifies that told a node that the host is there."""
        told = self.about(watch, wire.MAP_NOTIFY, node)
        return [one for one in told if [it.rloc for it in one.message.records[0].locators] == [rloc(self.lab, place)]]

    def about(self, watch: Watch, kind: int, node: str) -> list[Message]:
        """The control messages of one type about the host that arrived at a node."""
        return [
            one for one in watch.control(kind, node) if self.eid in [record.prefix for record in one.message.records]
        ]


@pytest.fixture(scope="module", params=[(4, 4), (6, 6)], ids=["v4-over-v4", "v6-over-v6"])
def pair(request: pytest.FixtureRequest) -> tuple[int, int]:
    """IP versions of EIDs and of RLOCs."""
    found: tuple[int, int] = request.param
    return found


@pytest.fixture(scope="module")
def moving(pair: tuple[int, int], boot: Callable[..., Lab], dataplane: str) -> Moving:
    """A world of each IP version, by each data path."""
    return Moving(boot(f"pubsub-ipv{pair[0]}", dataplane), pair[0])


@pytest.mark.requirement("M17")
def test_a_subscription_is_confirmed_and_a_move_is_published(moving: Moving) -> None:
    """To an ITR; also to a PITR and to an RTR, at which somebody asks by hand (RFC 9437 section 1)."""
    lab, eid = moving.lab, moving.eid
    moving.settle("dc1")
    lab.restart(TOLD)
    with Watch(lab, ["mr", "ms", TOLD, uplink(lab, TOLD), *PROXIES]) as watch:
        first_reply(lab, "b1", MOBILE, within=5, version=moving.version)

        def subscribing(node: str) -> dict[int, wire.Message]:
            """The Map-Requests that subscribe, by nonce: there may be more than one, where an answer is late."""
            inner = map(inner_request, watch.control(wire.ECM, node))
            return {one.nonce: one for one in inner if one.tail == moving.identity}

        def confirming() -> list[Message]:
            return [one for one in moving.saying(watch, TOLD, HOME) if one.message.nonce in subscribing("mr")]

        confirmed = watch.until(confirming, "a Map-Notify that confirms")[0]
        with clause("M17"):
            signed_by(confirmed, moving.secret(), wire.MAP_NOTIFY)
            asked = subscribing("mr")[confirmed.message.nonce]
            assert asked.word & wire.ASKED_WITH_XTR_ID
            assert [one.reserved for one in asked.records] == [wire.NOTIFY]
            assert asked == subscribing("ms")[asked.nonce]
            assert watch.control(wire.MAP_REPLY, TOLD) == []
        watch.until(lambda: moving.about(watch, wire.MAP_NOTIFY_ACK, "ms"), "its Map-Notify-Ack")
        for node in PROXIES:
            lab.lig(node, str(eid[0]))
        wanted = {
            (str(eid), lab[node].lisp.xtr_id, (str(rloc(lab, node)),))  # type: ignore[union-attr]
            for node in (TOLD, *PROXIES)
        }
        eventually(lambda: wanted <= moving.subscribed(), "all three have subscribed")

        def solicited() -> list[Message]:
            return [one for one in watch.control(wire.MAP_REQUEST, TOLD) if one.message.word & wire.SMR]

        watch.drain()
        before = len(solicited())  # of the move before
        lab.move(MOBILE, "dc2")
        published = watch.until(lambda: moving.saying(watch, TOLD, AWAY), "a publication")[0]
        with clause("M17"):
            signed_by(published, moving.secret(), wire.MAP_NOTIFY)
            assert published.message.nonce - 1 in subscribing("ms")

        def acknowledged() -> list[Message]:
            acks = moving.about(watch, wire.MAP_NOTIFY_ACK, "ms")
            return [one for one in acks if one.message.nonce == published.message.nonce]

        acked = watch.until(acknowledged, "its Map-Notify-Ack")[0]
        with clause("M17"):
            signed_by(acked, moving.secret(), wire.MAP_NOTIFY_ACK)
            assert acked.outer.source == rloc(lab, TOLD)
            assert acked.message.records == published.message.records
            # Nobody had to solicit it.
            assert [one for one in solicited()[before:] if one.frame.time_ns < published.frame.time_ns] == []
            eventually(lambda: cached(lab, TOLD, eid) == [str(rloc(lab, AWAY))], "the mapping is installed")
        nonces = set()
        for node in PROXIES:
            told = watch.until(lambda node=node: moving.saying(watch, node, AWAY), f"{node} is told")[0]  # type: ignore[misc]
            nonces.add(told.message.nonce)
            with clause("M17"):
                signed_by(told, moving.secret(node), wire.MAP_NOTIFY)
                eventually(lambda node=node: cached(lab, node, eid) == [str(rloc(lab, AWAY))], f"{node} has it")  # type: ignore[misc]

        def heard() -> set[int]:
            return {one.message.nonce for one in moving.about(watch, wire.MAP_NOTIFY_ACK, "ms")}

        watch.until(lambda: heard() >= nonces, "their Map-Notify-Acks")


@pytest.mark.requirement("M18")
@pytest.mark.parametrize("judge", ["mr", "ms"])
def test_who_is_not_the_subscriber_is_refused(moving: Moving, judge: str) -> None:
    """By its address, by the RLOCs that it gives, by its xTR-ID, by its Site-ID: at either of the two."""
    lab = moving.lab
    moving.settle("dc1")
    before = moving.subscribed()
    core = uplink(lab, judge)
    stranger, subscriber = facing(lab, core, judge, moving.version), rloc(lab, TOLD)
    forgeries: list[tuple[str, Any, list[Any], bytes, int]] = [
        ("its address is another one's", stranger, [stranger], moving.identity, POLICY_DENIED),
        ("so is one of its RLOCs", subscriber, [stranger], moving.identity, POLICY_DENIED),
        ("nobody has its xTR-ID", stranger, [stranger], bytes(16) + moving.identity[16:], AUTH_FAILURE),
        ("nobody has its Site-ID", stranger, [stranger], moving.identity[:16] + bytes(8), AUTH_FAILURE),
    ]
    with Watch(lab, [core]) as watch:
        for what, source, itr_rlocs, identity, action in forgeries:
            nonce = ask(moving, core, judge, source, itr_rlocs, identity)
            reply = watch.until(lambda nonce=nonce: replies(watch, core, nonce), f"a Map-Reply: {what}")[0]  # type: ignore[misc]
            with clause("M18"):
                assert [(one.action, one.locators) for one in reply.message.records] == [(action, ())], what
        assert moving.subscribed() == before


@pytest.mark.requirement("M18")
def test_in_whose_name_a_request_is_forged_he_does_not_confirm_it(moving: Moving) -> None:
    """Right in all but that he has not asked: once it subscribes, once it unsubscribes. He is told as before."""
    lab = moving.lab
    moving.settle("dc1")
    # It may have been told of the host while its subscription to the host itself was still to come.
    eventually(lambda: str(moving.eid) in {one[0] for one in moving.subscribed()}, "it has subscribed to the host")
    before = moving.subscribed()
    # It keeps its subscriptions. How often it has answered this xTR, it does not (RFC 9301 section 5.4).
    lab.restart("ms")
    assert moving.subscribed() == before
    core, subscriber = uplink(lab, TOLD), rloc(lab, TOLD)
    with Watch(lab, [TOLD, "ms"]) as watch:
        for itr_rlocs in ([subscriber], [None]):
            nonce = ask(moving, core, "mr", subscriber, itr_rlocs, moving.identity, add=1 << 62)
            offered = watch.until(
                lambda nonce=nonce: [one for one in watch.control(wire.MAP_NOTIFY, TOLD) if one.message.nonce == nonce],  # type: ignore[misc]
                "a Map-Notify about what he has not asked",
            )
            with clause("M18"):
                assert offered[0].outer.destination == subscriber
                # Somebody without the secret acknowledges it.
                forged = bytearray(offered[0].outer.payload)
                forged[0] = wire.MAP_NOTIFY_ACK << 4 | forged[0] & 15
                inject(
                    lab,
                    core,
                    packets.datagram(subscriber, rloc(lab, "ms"), (wire.CONTROL, wire.CONTROL), bytes(forged)),
                )
        lab.move(MOBILE, "dc2")
        eventually(lambda: cached(lab, TOLD, moving.eid) == [str(rloc(lab, AWAY))], "the subscriber is told of a move")
        with clause("M18"):
            assert moving.subscribed() == before
            nonces = [one.message.nonce for one in watch.control(wire.MAP_NOTIFY_ACK, "ms")]
            assert max(nonces.count(one) for one in nonces) == 1


@pytest.mark.requirement("X16")
def test_a_subscriber_sends_to_the_new_place_before_others_are_solicited(moving: Moving) -> None:
    """One move, two branches as far away as each other: one has subscribed, the other is solicited."""
    lab = moving.lab
    earlier = []
    for site, place in (("dc2", AWAY), ("dc1", HOME), ("dc2", AWAY)):
        moving.settle("dc1" if site == "dc2" else "dc2")
        with (
            Watch(lab, ["core2"]) as watch,
            Probes(lab, MOBILE, list(CORRESPONDENTS), versions=(moving.version,), streams=False),
        ):
            lab.move(MOBILE, site)
            told, solicited = (first_data(watch, lab, one, place) for one in (TOLD, SOLICITED))
        earlier.append((solicited - told) / 1e6)
    # What the other one waits for besides: Map-Notify and Solicit-Map-Request, over 10 ms of core each.
    assert sorted(earlier)[1] > 10, f"the subscriber was first by {earlier} ms"


@pytest.mark.requirement("X16")
def test_a_subscriber_needs_nobody_at_the_old_place(moving: Moving) -> None:
    """The old xTR stands still: it solicits nobody. Who has subscribed hears of it from the Map-Server at once.

    Who has not waits for the new xTR, which solicits those whom the host talks to.
    """
    lab = moving.lab
    moving.settle("dc1")
    with Probes(lab, MOBILE, list(CORRESPONDENTS), versions=(moving.version,), streams=False) as probes:
        with Watch(lab, ["core3"]) as watch:
            with frozen(lab, HOME):
                lab.move(MOBILE, "dc2")
                first_data(watch, lab, TOLD, AWAY)
                told = rloc(lab, TOLD)
                watch.until(
                    lambda: len([one for _, one in watch.datagrams(packets.DATA) if one.source == told]) > 500,
                    "half a second of its packets",
                )
            first_data(watch, lab, SOLICITED, AWAY)
        seen = probes.stop()
    silent = {one: silence(seen, one) for one in CORRESPONDENTS}
    assert silent["b1"] < silent["b2"], silent


def first_data(watch: Watch, lab: Lab, sender: str, to: str) -> int:
    """When the first data packet from one router to another passed, in nanoseconds; it is waited for."""
    ends = rloc(lab, sender), rloc(lab, to)

    def found() -> list[int]:
        passed = [(frame, one) for frame, one in watch.datagrams(packets.DATA)]
        return [frame.time_ns for frame, one in passed if (one.source, one.destination) == ends]

    return min(watch.until(found, f"{sender} sends data to {to}"))


def silence(seen: Seen, correspondent: str) -> float:
    """The longest time, in seconds, in which nothing of a correspondent arrived at the host."""
    (flow,) = [one for one in seen.flows if (one.correspondent, one.direction) == (correspondent, "from")]
    return flow.blackout(flow.sent[0], flow.sent[-1]) / 1e9


def signed_by(seen: Message, secret: str, kind: int) -> None:
    message = seen.message
    assert message.authentication == wire.mac(message.blank, message.nonce, secret, kind)


def cached(lab: Lab, node: str, eid: EidNetwork) -> list[str]:
    """The locators of a map-cache entry."""
    rows = {row["eid"]: row for row in lab.show(node, "map-cache")}
    return [one["rloc"] for one in rows[str(eid)]["locators"]] if str(eid) in rows else []


def ask(
    moving: Moving, at: str, judge: str, source: IPAddress, itr_rlocs: list[Any], identity: bytes, add: int = 0
) -> int:
    """A Map-Request that subscribes, from ``source`` as it says; returns its nonce."""
    nonce = (fresh_nonce() + add) % (1 << 64)
    message = wire.map_request(nonce, [moving.eid], itr_rlocs, identity=identity)
    eid = moving.eid.network_address
    payload = wire.ecm(source, 40404, eid, message)
    inject(moving.lab, at, packets.datagram(source, rloc(moving.lab, judge), (40404, wire.CONTROL), payload))
    return nonce


def replies(watch: Watch, node: str, nonce: int) -> list[Message]:
    """The Map-Replies with a nonce that arrived at a node."""
    return [one for one in watch.control(wire.MAP_REPLY, node) if one.message.nonce == nonce]
