"""Each message and LCAF as the figures of the texts draw it: the same as Scapy layers, and as octets."""

from __future__ import annotations

from scapy.packet import Packet

from testbed.observe import scapy_lisp as lisp

NONCE = "0102030405060708"
LOCATOR = "01 32 02 3c  0005 0001 c6336401"
RECORD = f"000005a0 01 18 1000 0123 0001 c0000200 {LOCATOR}"
IDENTITY = "101112131415161718191a1b1c1d1e1f a1a2a3a4a5a6a7a8"
AUTH = "03 02 0004 00010203"


def _locator() -> Packet:
    return lisp.RLOCRecord(
        priority=1, weight=50, m_priority=2, m_weight=60, local=1, probed=0, reachable=1, locator="198.51.100.1"
    )


def record() -> Packet:
    """The record that :data:`RECORD` draws."""
    return lisp.EIDRecord(
        record_ttl=1440, eid_mask_len=24, authoritative=1, map_version_number=0x123, eid_prefix="192.0.2.0",
        locators=[_locator()],
    )  # fmt: skip


def identity() -> Packet:
    """The xTR-ID and Site-ID that :data:`IDENTITY` draws."""
    return lisp.Identity(xtr_id=bytes(range(16, 32)), site_id=bytes(range(0xA1, 0xA9)))


NONCE_VALUE = int(NONCE, 16)
_SIGNED = {"nonce": NONCE_VALUE, "key_id": 3, "authentication_data": bytes(range(4))}
_QUESTION = {"eid_prefix": "192.0.2.9", "eid_mask_len": 32}

# Each octet as the figures of the texts draw it.
FIGURES: dict[str, tuple[Packet, str]] = {
    "Map-Request, RFC 9301 section 5.2": (
        lisp.MapRequest(
            nonce=NONCE_VALUE, probe=1, source_eid="192.0.2.1", itr_rlocs=["198.51.100.1", "2001:db8::1"],
            records=[lisp.RequestRecord(**_QUESTION)],
        ),
        f"12000101 {NONCE} 0001 c0000201 0001 c6336401 0002 20010db8000000000000000000000001 00 20 0001 c0000209",
    ),
    "Map-Request, RFC 9437 section 4": (
        lisp.MapRequest(
            nonce=NONCE_VALUE, xtr_id_present=1, itr_rlocs=["198.51.100.1"],
            records=[lisp.RequestRecord(notification_requested=1, **_QUESTION)],
        )
        / identity(),
        f"10100001 {NONCE} 0000 0001 c6336401 80 20 0001 c0000209 {IDENTITY}",
    ),
    "Map-Request with a Map-Reply Record": (
        lisp.MapRequest(map_data_present=1, itr_rlocs=["198.51.100.1"], map_reply_record=[record()]),
        f"14000000 0000000000000000 0000 0001 c6336401 {RECORD}",
    ),
    "Map-Reply, RFC 9301 section 5.4": (
        lisp.MapReply(nonce=NONCE_VALUE, records=[record()]), f"20000001 {NONCE} {RECORD}",
    ),
    "Map-Reply, RFC 9303 section 6.2": (
        lisp.MapReply(nonce=NONCE_VALUE, security=1)
        / lisp.MapReplyAuthentication(
            eid_ad=[
                lisp.EIDAuthentication(
                    kdf_id=2, eid_hmac_id=1, eid_hmac=bytes(12),
                    records=[lisp.AuthorizedPrefix(eid_mask_len=24, eid_prefix="192.0.2.0")],
                )
            ],
            pkt_hmac=bytes(16),
        ),
        f"22000000 {NONCE} 01000000 001c 0002 01 00 0001 00 18 0001 c0000200 {'00' * 12} 0014 0002 {'00' * 16}",
    ),
    "Map-Register, RFC 9301 section 5.6": (
        lisp.MapRegister(want_map_notify=1, records=[record()], **_SIGNED), f"30000101 {NONCE} {AUTH} {RECORD}",
    ),
    "Map-Register with an xTR-ID": (
        lisp.MapRegister(proxy_map_reply=1, **_SIGNED) / identity(), f"3a000000 {NONCE} {AUTH} {IDENTITY}",
    ),
    "Map-Notify, RFC 9301 section 5.7": (
        lisp.MapNotify(**_SIGNED) / identity(), f"40000000 {NONCE} {AUTH} {IDENTITY}",
    ),
    "Map-Notify-Ack": (lisp.MapNotifyAck(records=[record()], **_SIGNED), f"50000001 {NONCE} {AUTH} {RECORD}"),
    "Map-Referral, RFC 8111 section 6.4": (
        lisp.MapReferral(
            nonce=NONCE_VALUE,
            records=[
                lisp.ReferralRecord(
                    act="MS-REFERRAL", incomplete=1, eid_mask_len=24, map_version_number=0x123, eid_prefix="192.0.2.0",
                    referrals=[_locator()], signatures=[lisp.Signature(key_tag=7, signature=b"abc")],
                )
            ],
        ),
        f"60000001 {NONCE} 000005a0 01 18 2800 1123 0001 c0000200 {LOCATOR}"
        "000005a0 00000000 00000000 0007 0003 02 000000 616263",
    ),
    "Info-Request": (
        lisp.InfoRequest(nonce=NONCE_VALUE, key_id=1, eid_prefix="192.0.2.0", eid_mask_len=24, ttl=5),
        f"70000000 {NONCE} 0001 0000 00000005 00 18 0001 c0000200 0000",
    ),
    "Info-Reply": (
        lisp.InfoReply(
            nonce=NONCE_VALUE, nat=lisp.NATTraversal(etr_udp_port=9, global_etr_rloc="1.2.3.4", rtr_rlocs=["5.6.7.8"])
        ),
        f"78000000 {NONCE} 0000 0000 00000000 00 00 0000"
        "4003 00 00 07 00 0014 10f6 0009 0001 01020304 0000 0000 0001 05060708",
    ),
    "ECM with Authentication Data, RFC 9303 section 6.1": (
        lisp.EncapsulatedControlMessage(security=1, ddt=1) / lisp.ECMAuthentication(requested_hmac_id=2, key_id=7),
        f"8c000000 01 00 0002 0018 07 01 {'00' * 24} 0004 0000",
    ),
    "Shared Extension Message, RFC 9304 section 3": (lisp.SharedExtensionMessage(sub_type=0x123), "f1230000"),
    "data, RFC 9300 section 5.3, N and E": (
        lisp.LISPData(nonce_present=1, echo_nonce_request=1, nonce=0x123456, locator_status_bits=3),
        "a0123456 00000003",
    ),
    "data, V, L and I": (
        lisp.LISPData(
            lsb_enabled=1, map_version_present=1, source_map_version=0x123, dest_map_version=0x456,
            instance_id_present=1, instance_id=0xABCDEF, lsbs=5,
        ),
        "58123456 abcdef05",
    ),
    "data, KK, RFC 8061 section 8": (lisp.LISPData(key_id=3), "03000000 00000000"),
    "GPE, RFC 9305 section 3": (
        lisp.LISPGPE(instance_id_present=1, instance_id=9, next_protocol=0x81)
        / lisp.Shim(type=1, next_protocol=2, specific=bytes(4)),
        "0c000081 00000900 01 01 00 02 00000000",
    ),
}  # fmt: skip

LCAF_FIGURES: dict[str, tuple[Packet, str]] = {
    "0": (lisp.NullBody(), "00 00 0000"),
    "1": (lisp.AFIList(addresses=["10.0.0.1", b"ab"]), "01 00 000b 0001 0a000001 0011 616200"),
    "2": (lisp.InstanceID(instance_id=100, iid_mask_len=24, address="10.0.0.1"), "02 18 000a 00000064 0001 0a000001"),
    "3": (lisp.ASNumber(as_number=65536), "03 00 0006 00010000 0000"),
    "4": (
        lisp.ApplicationData(
            tos_tc_or_flow_label=0x123456, protocol=6, local_port_lower=1, local_port_upper=2, remote_port_lower=3,
            remote_port_upper=4,
        ),
        "04 00 000e 123456 06 0001 0002 0003 0004 0000",
    ),
    "5": (
        lisp.GeoCoordinates(
            north=1, latitude_degrees=52, latitude_minutes=1, latitude_seconds=2, longitude_degrees=13,
            longitude_minutes=3, longitude_seconds=4, altitude=-5,
        ),
        "05 00 000e 8034 01 02 000d 03 04 fffffffb 0000",
    ),
    "6": (lisp.OpaqueKey(key_field_num=3, key_wildcard_fields=2, key=b"abcd"), "06 00 0007 03 0002 61626364"),
    "7": (
        lisp.NATTraversal(etr_udp_port=1, ms_rloc="10.0.0.1", rtr_rlocs=["10.0.0.2"]),
        "07 00 0014 10f6 0001 0000 0001 0a000001 0000 0001 0a000002",
    ),
    "8": (lisp.NonceLocator(nonce=0x123456, address="10.0.0.1"), "08 00 000a 00 123456 0001 0a000001"),
    "9": (
        lisp.MulticastInfo(instance_id=1, source_mask_len=32, group_mask_len=24, source="10.0.0.1", group="239.0.0.1"),
        "09 00 0014 00000001 0000 20 18 0001 0a000001 0001 ef000001",
    ),
    "10": (
        lisp.ExplicitLocatorPath(
            hops=[lisp.ReencapHop(lookup=1, hop="10.0.0.1"), lisp.ReencapHop(strict=1, rloc_probe=1)]
        ),
        "0a 00 000c 0004 0001 0a000001 0003 0000",
    ),
    "11": (
        lisp.SecurityKey(key_algorithm=5, revoke=1, keys=[lisp.KeySection(key_material=b"ab")], locator="10.0.0.1"),
        "0b 00 000e 01 00 05 01 0002 6162 0001 0a000001",
    ),
    "12": (
        lisp.SourceDestKey(source_ml=8, dest_ml=32, source_prefix="10.0.0.0", destination_prefix="10.0.0.1"),
        "0c 00 0010 0000 08 20 0001 0a000000 0001 0a000001",
    ),
    "13": (
        lisp.ReplicationListEntry(entries=[lisp.ReplicationEntry(level_value=128, address="10.0.0.1")]),
        "0d 00 000a 0000 00 80 0001 0a000001",
    ),
    "14": (lisp.JSONDataModel(binary=1, json=b"{}"), "0e 01 0006 0002 7b7d 0000"),
    "15": (
        lisp.KeyValueAddressPair(address_as_key="10.0.0.1", address_as_value="02:00:00:00:00:01"),
        "0f 00 000e 0001 0a000001 0006 020000000001",
    ),
    "16": (lisp.EncapsulationFormat(lisp=1, vxlan=1), "10 00 0006 00000005 0000"),
    "255": (lisp.VendorSpecific(oui=0x123456, internal_format=b"x"), "ff 00 0005 00 123456 78"),
}  # fmt: skip
