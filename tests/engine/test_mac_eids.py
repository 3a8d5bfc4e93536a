"""MAC addresses as EIDs (RFC 8060 section 4.10.2): no site has them here, and who asks for one is told so."""

from __future__ import annotations

from ipaddress import IPv4Address, ip_address

import pytest

from nodes.lisp.config import Algorithm
from nodes.lisp.effects import Report, Send
from nodes.lisp.eid import EidPrefix
from nodes.lisp.wire import (
    Action,
    Address,
    EidRecord,
    EncapsulatedControlMessage,
    InstanceId,
    LocatorRecord,
    MacAddress,
    MapRegister,
    MapReply,
    MapRequest,
    NoAddress,
    RequestRecord,
    decode,
    sign,
)
from tests.engine.test_registration import states
from tests.engine.world import DC1, KEY, MR, MS, STRANGER, XTR1, two_sites

MAC = MacAddress(bytes.fromhex("02005e100001"))
NONE = MacAddress(bytes(6))
EIDS = [(MAC, NONE), (InstanceId(7, MAC), InstanceId(7, NONE)), (InstanceId(0xFFFFFF, MAC), InstanceId(0xFFFFFF, NONE))]


def question(*records: RequestRecord, nonce: int = 5) -> bytes:
    """An Encapsulated Map-Request."""
    request = MapRequest(nonce, NoAddress(), (STRANGER,), records)
    return EncapsulatedControlMessage.wrap(request.encode(), STRANGER, 40000, IPv4Address("0.0.0.0")).encode()


def replies(effects: list[object]) -> list[MapReply]:
    found = [decode(one.payload) for one in effects if isinstance(one, Send)]
    return [one for one in found if isinstance(one, MapReply)]


@pytest.mark.requirement("M20")
@pytest.mark.parametrize(("node", "rloc"), [("mr", MR), ("ms", MS)])
@pytest.mark.parametrize(("eid", "hole"), EIDS, ids=str)
def test_the_mapping_system_has_no_mac_address(node: str, rloc: object, eid: Address, hole: Address) -> None:
    """Negative, natively-forward, 15 minutes, for all MAC addresses of the instance: none is in it."""
    world = two_sites()
    (reply,) = replies(world.inject(node, question(RequestRecord(eid, 48)), STRANGER))
    assert reply.nonce == 5
    assert reply.records == (EidRecord(hole, 0, 15, action=Action.NATIVELY_FORWARD),)
    assert not world[node].drops
    # As any other answer it is limited in rate.
    for nonce in range(6, 16):
        world.inject(node, question(RequestRecord(eid, 48), nonce=nonce), STRANGER)
    assert world[node].drops == {"map-reply-rate": 8}


@pytest.mark.requirement("M20")
def test_it_does_not_keep_the_next_question_from_its_answer() -> None:
    """A MAC address and an EID outside every prefix in one Map-Request; each is answered, whichever is the first."""
    nobody = RequestRecord(ip_address("203.0.113.9"), 32)
    world = two_sites()
    for records in ((RequestRecord(MAC, 48), nobody), (nobody, RequestRecord(MAC, 48))):
        (reply,) = replies(world.inject("mr", question(*records), STRANGER))
        assert {type(one.address) for one in reply.records} == {MacAddress, IPv4Address}
        assert {one.ttl_minutes for one in reply.records} == {15}


@pytest.mark.requirement("M20")
def test_an_etr_has_none_and_says_nothing() -> None:
    """Asked straight or through the mapping system; it answers for its own EIDs beside it."""
    world = two_sites()
    world.inject("xtr1", question(RequestRecord(MAC, 48)), STRANGER)
    assert world["xtr1"].drops == {"map-request-foreign-eid": 1}
    reports = [one for one in world["xtr1"].reports if isinstance(one, Report) and one.event == "dropped"]
    assert reports[0].fields["eid"] == "02:00:5e:10:00:01"
    bare = MapRequest(6, NoAddress(), (STRANGER,), (RequestRecord(InstanceId(7, MAC), 48), RequestRecord.of(DC1)))
    (reply,) = replies(world.inject("xtr1", bare.encode(), STRANGER))
    assert [one.prefix for one in reply.records] == [DC1]


@pytest.mark.requirement("M20", "M03")
@pytest.mark.parametrize("eid", [MAC, InstanceId(7, MAC)], ids=str)
def test_a_registration_of_one_is_refused_whole(eid: Address) -> None:
    """No site has it (RFC 9301 section 8.2), and what stands beside it is not taken either."""
    world = two_sites()
    before = states(world)
    locators = (LocatorRecord(XTR1, 1, 100),)
    own = EidRecord.of(EidPrefix.of("192.168.1.0/24"), 60)
    for records in ((EidRecord(eid, 48, 60, locators),), (own, EidRecord(eid, 48, 60, locators))):
        register = MapRegister(1 << 63, 1, Algorithm.HMAC_SHA_256_128_HKDF_SHA256, records, want_notify=True)
        effects = world.inject("ms", sign(register, KEY.secret).encode(), XTR1)
        assert not [one for one in effects if isinstance(one, Send)]
    assert world["ms"].drops == {"map-register-foreign-prefix": 2}
    assert states(world) == before


@pytest.mark.requirement("M20")
def test_an_instance_that_no_data_header_can_name_is_malformed() -> None:
    """As it is for IP addresses."""
    world = two_sites()
    assert not replies(world.inject("mr", question(RequestRecord(InstanceId(1 << 24, MAC), 48)), STRANGER))
    assert world["mr"].drops == {"malformed": 1}
