"""tshark as the second opinion on what the Scapy layers build and read.

One capture with packets of every kind, one run of tshark. Where tshark 4.0 and the texts differ, the text is right:
``DIFFERENCES`` says what tshark makes of such a packet, and which text it has not read.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from testbed.observe import scapy_lisp as lisp
from tests.scapy_lisp import chance
from tests.scapy_lisp.tshark import COMPARED, NOT_DISSECTED, Opinion, ask, disagreements

ROUNDS = 12
UNDISSECTED_LCAFS = (4, 6, 11, 14, 16)
VENDOR = 255

Sample = tuple[bytes, Opinion]


def _carried(message: Packet, port: int = lisp.LISP_CONTROL_PORT) -> bytes:
    return bytes(IP(src="198.51.100.1", dst="198.51.100.2") / UDP(sport=5000, dport=port) / message)


def _anonymous(make: Callable[..., Packet]) -> Callable[[Random], Packet]:
    """The same without an xTR-ID at the end (see DIFFERENCES)."""

    def made(random: Random) -> Packet:
        while (message := make(random, chance.ip_address)).haslayer(lisp.Identity):
            pass
        return message

    return made


def _with_locator(address: Packet) -> Packet:
    """A Map-Reply with an address as locator, and one behind it that is found only if the address was read right."""
    locators = [lisp.RLOCRecord(locator=address), lisp.RLOCRecord(locator="203.0.113.1", priority=7)]
    record = lisp.EIDRecord(eid_prefix="192.0.2.0", eid_mask_len=24, locators=locators)
    return lisp.MapReply(nonce=5, records=[record])


def _flat(number: int) -> Callable[[Random], Packet]:
    """An LCAF of a type that holds no address but IP addresses."""

    def made(random: Random) -> Packet:
        while is_beyond_tshark(address := chance.LCAFS[number](random)):
            pass
        return _with_locator(address)

    return made


def is_beyond_tshark(address: Packet) -> bool:
    """Whether an address holds what DIFFERENCES is about."""
    octets = bytes(address)
    inside = [address.getfieldval(field.name) for field in address.fields_desc if field.holds_packets]
    held = [one for value in inside for one in (value if isinstance(value, list) else [value])]
    if isinstance(address, lisp.AFIList | lisp.KeyValueAddressPair) and any(
        isinstance(a, lisp.NoAddress) for a in held
    ):
        return True
    if isinstance(address, lisp.LCAF) and address.type in (*UNDISSECTED_LCAFS, VENDOR):
        return True
    return len(octets) > 400 or any(is_beyond_tshark(one) for one in held)


AGREED: dict[str, tuple[Callable[[Random], Packet], int]] = {
    **{
        make.__name__: (_anonymous(make), lisp.LISP_CONTROL_PORT)
        for make in (chance.map_request, chance.map_reply, chance.map_notify, chance.ecm)
    },
    "map_register": (lambda random: chance.map_register(random, chance.ip_address), lisp.LISP_CONTROL_PORT),
    "map_referral": (
        lambda random: chance.map_referral(random, chance.ip_address, with_signatures=False), lisp.LISP_CONTROL_PORT,
    ),
    "info_request": (lambda random: chance.info_request(random, chance.ip_address), lisp.LISP_CONTROL_PORT),
    "info_reply": (lambda random: chance.info_reply(random, chance.ip_address), lisp.LISP_CONTROL_PORT),
    **{
        f"lcaf {number}": (_flat(number), lisp.LISP_CONTROL_PORT)
        for number in chance.LCAFS
        if number not in (*UNDISSECTED_LCAFS, VENDOR)
    },
    "data": (chance.data_header, lisp.LISP_DATA_PORT),
}  # fmt: skip

_RANDOM = Random(11)

# What: the packet, what tshark complains of, how many octets it leaves undissected. The text decides, named with each.
DIFFERENCES: dict[str, tuple[Packet, list[str], int | None]] = {
    "Map-Notify-Ack, RFC 9301 section 5.7: tshark does not know type 5": (
        lisp.MapNotifyAck(authentication_data=bytes(16)), [], 32,
    ),
    "Shared Extension Message, RFC 9304 section 3: tshark does not know type 15": (
        lisp.SharedExtensionMessage(sub_type=1), [], 4,
    ),
    "xTR-ID of a subscriber, RFC 9437 section 4: tshark takes the I-bit of a Map-Request for reserved": (
        lisp.MapRequest(xtr_id_present=1, records=[lisp.RequestRecord(eid_prefix="192.0.2.1")]) / lisp.Identity(),
        [], 24,
    ),
    "xTR-ID of a Map-Notify, RFC 9301 section 5.7 (contents of the Map-Register, flags reserved): tshark wants a bit": (
        lisp.MapNotify(authentication_data=bytes(16)) / lisp.Identity(), [], 24,
    ),
    "signatures of a Map-Referral, RFC 8111 section 6.4.1: tshark does not read them": (
        lisp.MapReferral(records=[lisp.ReferralRecord(eid_prefix="192.0.2.0", signatures=[lisp.Signature()])]), [], 20,
    ),
    "Authentication Data of a Map-Reply, RFC 9303 section 6.2: tshark does not read it": (
        lisp.MapReply(security=1) / lisp.MapReplyAuthentication(), [], 4 + 4 + 20,
    ),
    "Authentication Data of an ECM, RFC 9303 section 6.1: tshark does not read it": (
        lisp.EncapsulatedControlMessage(security=1) / lisp.ECMAuthentication(), [], 36,
    ),
    **{
        f"LCAF {number}, RFC 8060 sections 4.7 and 5: tshark reads its length only": (
            _with_locator(chance.LCAFS[number](_RANDOM)), [NOT_DISSECTED], None,
        )
        for number in UNDISSECTED_LCAFS
    },
    "AFI 0 as a key, RFC 8060 section 5.5 (any AFI): tshark refuses it": (
        _with_locator(lisp.KeyValueAddressPair(address_as_value="192.0.2.1")),
        ["Unexpected Key AFI (0), cannot decode"], None,
    ),
    "no ITR-RLOC but AFI 0, RFC 9301 section 5.2 (as a value of the field): tshark refuses it": (
        lisp.MapRequest(itr_rlocs=[None]),
        ["Unexpected ITR-RLOC-AFI (0), cannot decode"], None,
    ),
}  # fmt: skip

DATA_DIFFERENCES: dict[str, Packet] = {
    "P-bit, RFC 9305 section 3: tshark takes it for reserved": (
        lisp.LISPGPE() / Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02") / IP(src="192.0.2.1", dst="192.0.2.2")
    ),
    "KK-bits, RFC 8061 section 8: tshark takes them for reserved": lisp.LISPData(key_id=3) / bytes(16),
}


@pytest.fixture(scope="module")
def opinions(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Sample]]:
    """All samples by their name, with what tshark says of each."""
    random = Random(9)
    named = [
        *((name, _carried(make(random), port)) for name, (make, port) in AGREED.items() for _ in range(ROUNDS)),
        *((name, _carried(packet)) for name, (packet, _, _) in DIFFERENCES.items()),
        *((name, _carried(packet, lisp.LISP_DATA_PORT)) for name, packet in DATA_DIFFERENCES.items()),
    ]
    found: dict[str, list[Sample]] = {name: [] for name, _ in named}
    said = ask([octets for _, octets in named], tmp_path_factory.mktemp("tshark") / "every-kind.pcap")
    for (name, octets), opinion in zip(named, said, strict=True):
        found[name].append((octets, opinion))
    return found


@pytest.mark.parametrize("name", AGREED)
def test_they_agree(opinions: dict[str, list[Sample]], name: str) -> None:
    """M20: the same value of every field that tshark knows; nothing malformed, unexpected or left over."""
    for octets, opinion in opinions[name]:
        assert lisp.defects(IP(octets)) == []
        assert list(disagreements(octets, opinion)) == []
        assert opinion.complaints == []
        assert opinion.undissected is None or name == "data"


def test_every_compared_field_is_seen(opinions: dict[str, list[Sample]]) -> None:
    """A field that no packet has would agree for ever."""
    seen = {name for samples in opinions.values() for _, opinion in samples for name in opinion.values}
    assert seen >= COMPARED


@pytest.mark.parametrize("name", DIFFERENCES)
def test_differences(opinions: dict[str, list[Sample]], name: str) -> None:
    """What tshark 4.0 does not know or gets wrong: the layers read it whole."""
    ((octets, opinion),) = opinions[name]
    packet, complaints, undissected = DIFFERENCES[name]
    read = IP(octets)
    assert lisp.defects(read) == []
    assert bytes(read[UDP].payload) == bytes(packet)
    assert opinion.complaints == complaints
    assert opinion.undissected == undissected


@pytest.mark.parametrize("name", DATA_DIFFERENCES)
def test_differences_in_the_data_header(opinions: dict[str, list[Sample]], name: str) -> None:
    ((octets, opinion),) = opinions[name]
    assert lisp.defects(IP(octets)) == []
    assert opinion.values["lisp-data.flags.res"] == [octets[28] & 7]


def test_a_wrong_value_is_a_disagreement(opinions: dict[str, list[Sample]]) -> None:
    """The comparison can fail: one changed octet, and the two no longer say the same."""
    octets, opinion = next(one for one in opinions["map_reply"] if len(one[0]) > 28 + 24)
    for at in (28 + 4, 28 + 12, 28 + 17, 28 + 18):
        changed = bytearray(octets)
        changed[at] ^= 0x20
        assert list(disagreements(bytes(changed), opinion)) != [], at
