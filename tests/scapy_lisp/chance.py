"""Random LISP packets of every kind, made with the Scapy layers: of one seed always the same."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from random import Random
from typing import Any

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from testbed.observe import scapy_lisp as lisp

Maker = Callable[[Random], Packet]


def ipv4(random: Random) -> str:
    return str(IPv4Address(random.getrandbits(32)))


def ipv6(random: Random) -> str:
    return str(IPv6Address(random.getrandbits(128)))


def mac(random: Random) -> str:
    return ":".join(f"{octet:02x}" for octet in random.randbytes(6))


def name(random: Random) -> bytes:
    return bytes(random.choices(range(0x21, 0x7F), k=random.randrange(1, 20)))


def ip_address(random: Random) -> Any:
    return random.choice([ipv4, ipv6])(random)


def plain(random: Random) -> Any:
    return random.choice([ipv4, ipv6, mac, name, lambda _random: None])(random)


def some(random: Random, make: Callable[[Random], Any], most: int = 3) -> list[Any]:
    return [make(random) for _ in range(random.randint(0, most))]


def octet(random: Random) -> int:
    return random.randrange(256)


def bit(random: Random) -> int:
    return random.getrandbits(1)


def _geo(random: Random) -> Packet:
    return lisp.GeoCoordinates(
        north=bit(random),
        latitude_degrees=random.randint(0, 90),
        latitude_minutes=random.randrange(60),
        latitude_seconds=random.randrange(60),
        east=bit(random),
        longitude_degrees=random.randint(0, 180),
        longitude_minutes=random.randrange(60),
        longitude_seconds=random.randrange(60),
        altitude=random.randint(-(2**31), 2**31 - 1),
        address=address(random),
    )


def _application(random: Random) -> Packet:
    return lisp.ApplicationData(
        tos_tc_or_flow_label=random.getrandbits(24),
        protocol=octet(random),
        local_port_lower=random.getrandbits(16),
        local_port_upper=random.getrandbits(16),
        remote_port_lower=random.getrandbits(16),
        remote_port_upper=random.getrandbits(16),
        address=address(random),
    )


def _nat(random: Random) -> Packet:
    return lisp.NATTraversal(
        etr_udp_port=random.getrandbits(16),
        global_etr_rloc=ip_address(random),
        ms_rloc=ip_address(random),
        private_etr_rloc=ip_address(random),
        rtr_rlocs=some(random, ip_address),
    )


def _hop(random: Random) -> Packet:
    return lisp.ReencapHop(lookup=bit(random), rloc_probe=bit(random), strict=bit(random), hop=ip_address(random))


def _key(random: Random) -> Packet:
    return lisp.KeySection(key_material=random.randbytes(random.randrange(40)))


def _encapsulations(random: Random) -> Packet:
    flags = ("gue", "geneve", "nvgre", "vxlan_gpe", "vxlan", "lisp_layer_2", "lisp")
    return lisp.EncapsulationFormat(address=address(random), **{one: bit(random) for one in flags})


LCAFS: dict[int, Maker] = {
    0: lambda _random: lisp.NullBody(),
    1: lambda random: lisp.AFIList(addresses=some(random, address)),
    2: lambda random: lisp.InstanceID(
        iid_mask_len=random.randint(0, 32), instance_id=random.getrandbits(32), address=address(random)
    ),
    3: lambda random: lisp.ASNumber(as_number=random.getrandbits(32), address=address(random)),
    4: _application,
    5: _geo,
    6: lambda random: lisp.OpaqueKey(
        key_field_num=random.randrange(16), key_wildcard_fields=random.getrandbits(16), key=random.randbytes(8)
    ),
    7: _nat,
    8: lambda random: lisp.NonceLocator(nonce=random.getrandbits(24), address=address(random)),
    9: lambda random: lisp.MulticastInfo(
        instance_id=random.getrandbits(32),
        source_mask_len=random.randint(0, 32),
        group_mask_len=random.randint(0, 32),
        source=ip_address(random),
        group=ip_address(random),
    ),
    10: lambda random: lisp.ExplicitLocatorPath(hops=some(random, _hop)),
    11: lambda random: lisp.SecurityKey(
        key_algorithm=random.randrange(1, 7), revoke=bit(random), keys=some(random, _key), locator=ip_address(random)
    ),
    12: lambda random: lisp.SourceDestKey(
        source_ml=random.randint(0, 32),
        dest_ml=random.randint(0, 32),
        source_prefix=ip_address(random),
        destination_prefix=ip_address(random),
    ),
    13: lambda random: lisp.ReplicationListEntry(
        entries=some(
            random, lambda random: lisp.ReplicationEntry(level_value=octet(random), address=ip_address(random))
        )
    ),
    14: lambda random: lisp.JSONDataModel(binary=bit(random), json=b'{"a": 1}', address=address(random)),
    15: lambda random: lisp.KeyValueAddressPair(address_as_key=address(random), address_as_value=address(random)),
    16: _encapsulations,
    255: lambda random: lisp.VendorSpecific(oui=random.getrandbits(24), internal_format=random.randbytes(5)),
}

_depth = 0


def address(random: Random) -> Any:
    """An address of any family; LCAFs hold one another two deep."""
    global _depth
    if _depth == 2 or random.random() < 0.5:
        return plain(random)
    _depth += 1
    try:
        return random.choice(list(LCAFS.values()))(random)
    finally:
        _depth -= 1


def locator(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.RLOCRecord(
        priority=octet(random),
        weight=octet(random),
        m_priority=octet(random),
        m_weight=octet(random),
        local=bit(random),
        probed=bit(random),
        reachable=bit(random),
        locator=make(random),
    )


def record(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.EIDRecord(
        record_ttl=random.getrandbits(32),
        eid_mask_len=random.randint(0, 32),
        act=random.randrange(8),
        authoritative=bit(random),
        map_version_number=random.getrandbits(12),
        eid_prefix=make(random),
        locators=some(random, lambda random: locator(random, make)),
    )


def request_record(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.RequestRecord(
        notification_requested=bit(random), eid_mask_len=random.randint(0, 32), eid_prefix=make(random)
    )


def identity(random: Random) -> Packet:
    return lisp.Identity(xtr_id=random.randbytes(16), site_id=random.randbytes(8))


def map_request(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    flags = ("authoritative", "probe", "smr", "pitr", "smr_invoked", "local_xtr", "dont_map_reply")
    with_record, with_identity = bit(random), bit(random)
    message = lisp.MapRequest(
        nonce=random.getrandbits(64),
        source_eid=make(random),
        itr_rlocs=[make(random), *some(random, make, 31)],
        records=some(random, lambda random: request_record(random, make)),
        map_data_present=with_record,
        map_reply_record=[record(random, make)] if with_record else [],
        xtr_id_present=with_identity,
        **{flag: bit(random) for flag in flags},
    )
    return message / identity(random) if with_identity else message


def _authorized(random: Random) -> Packet:
    return lisp.AuthorizedPrefix(eid_mask_len=random.randint(0, 32), eid_prefix=address(random))


def _eid_ad(random: Random) -> list[Packet]:
    hmac_id, records = random.randint(1, 2), some(random, _authorized)
    hmac = random.randbytes({1: 12, 2: 16}[hmac_id]) if records else b""
    return [
        lisp.EIDAuthentication(
            kdf_id=random.randrange(3),
            **(
                {"records": records, "etr_cant_sign": bit(random), "eid_hmac_id": hmac_id, "eid_hmac": hmac}
                if records
                else {}
            ),
        )
    ]


def map_reply(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.MapReply(
        nonce=random.getrandbits(64),
        probe=bit(random),
        echo_nonce=bit(random),
        records=some(random, lambda random: record(random, make)),
    )


def secured_map_reply(random: Random) -> Packet:
    message = map_reply(random)
    message.security = 1
    return message / lisp.MapReplyAuthentication(eid_ad=_eid_ad(random), pkt_hmac=random.randbytes(16))


def _registration(random: Random, make: Callable[[Random], Any]) -> dict[str, Any]:
    algorithm = random.randint(1, 3)
    return {
        "nonce": random.getrandbits(64),
        "key_id": octet(random),
        "algorithm_id": algorithm,
        "authentication_data": random.randbytes({1: 20, 2: 16, 3: 16}[algorithm]),
        "records": some(random, lambda random: record(random, make)),
    }


def map_register(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    flags = ("proxy_map_reply", "security_capable", "eid_notify", "use_ttl_for_timeout", "merge_request")
    message = lisp.MapRegister(
        want_map_notify=bit(random), **{flag: bit(random) for flag in flags}, **_registration(random, make)
    )
    return message / identity(random) if bit(random) else message


def map_notify(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    message = lisp.MapNotify(**_registration(random, make))
    return message / identity(random) if bit(random) else message


def map_notify_ack(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    message = lisp.MapNotifyAck(**_registration(random, make))
    return message / identity(random) if bit(random) else message


def _signature(random: Random) -> Packet:
    return lisp.Signature(
        original_record_ttl=random.getrandbits(32),
        signature_expiration=random.getrandbits(32),
        signature_inception=random.getrandbits(32),
        key_tag=random.getrandbits(16),
        signature=random.randbytes(random.randrange(1, 60)),
    )


def map_referral(random: Random, make: Callable[[Random], Any] = address, *, with_signatures: bool = True) -> Packet:
    records = [
        lisp.ReferralRecord(
            record_ttl=random.getrandbits(32),
            eid_mask_len=random.randint(0, 32),
            act=random.randrange(6),
            authoritative=bit(random),
            incomplete=bit(random),
            map_version_number=random.getrandbits(12),
            eid_prefix=make(random),
            referrals=some(random, lambda random: locator(random, make)),
            signatures=some(random, _signature) if with_signatures else [],
        )
        for _ in range(random.randint(0, 3))
    ]
    return lisp.MapReferral(nonce=random.getrandbits(64), records=records)


def _info(random: Random, make: Callable[[Random], Any]) -> dict[str, Any]:
    return {
        "nonce": random.getrandbits(64),
        "key_id": random.getrandbits(16),
        "authentication_data": random.randbytes(random.choice([0, 16, 20])),
        "ttl": random.getrandbits(32),
        "eid_mask_len": random.randint(0, 32),
        "eid_prefix": make(random),
    }


def info_request(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.InfoRequest(**_info(random, make))


def info_reply(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.InfoReply(nat=_nat(random), **_info(random, make))


def inner(random: Random, message: Packet) -> Packet:
    header = random.choice([lambda: IP(dst=ipv4(random), src=ipv4(random)), lambda: IPv6(dst=ipv6(random), src="::1")])
    return header() / UDP(sport=random.randint(1024, 65535), dport=4342) / message


def ecm(random: Random, make: Callable[[Random], Any] = address) -> Packet:
    return lisp.EncapsulatedControlMessage(ddt=bit(random)) / inner(random, map_request(random, make))


def secured_ecm(random: Random) -> Packet:
    security = lisp.ECMAuthentication(
        requested_hmac_id=random.randrange(3),
        key_id=octet(random),
        otk_wrapping_id=random.randint(1, 2),
        one_time_key_preamble=random.getrandbits(64),
        one_time_key=random.randbytes(16),
        eid_ad=_eid_ad(random),
    )
    return lisp.EncapsulatedControlMessage(security=1) / security / inner(random, map_request(random))


def shared_extension(random: Random) -> Packet:
    return lisp.SharedExtensionMessage(sub_type=random.getrandbits(12), extension_specific=random.getrandbits(16))


CONTROL: dict[str, Maker] = {
    one.__name__.replace("_", "-"): one
    for one in (
        map_request,
        map_reply,
        secured_map_reply,
        map_register,
        map_notify,
        map_notify_ack,
        map_referral,
        info_request,
        info_reply,
        ecm,
        secured_ecm,
        shared_extension,
    )
}


def payload(random: Random) -> Packet:
    transport = UDP(sport=random.randint(1024, 65535), dport=9999) / Raw(random.randbytes(random.randrange(60)))
    header = IP(src=ipv4(random), dst=ipv4(random)) if bit(random) else IPv6(src=ipv6(random), dst=ipv6(random))
    return header / transport


def _second_word(random: Random) -> dict[str, int]:
    if bit(random):
        return {"instance_id_present": 1, "instance_id": random.getrandbits(24), "lsbs": octet(random)}
    return {"locator_status_bits": random.getrandbits(32)}


def data_header(random: Random) -> Packet:
    first: dict[str, int] = random.choice(
        [
            {},
            {"nonce_present": 1, "echo_nonce_request": bit(random), "nonce": random.getrandbits(24)},
            {
                "map_version_present": 1,
                "source_map_version": random.getrandbits(12),
                "dest_map_version": random.getrandbits(12),
            },
        ]
    )
    return lisp.LISPData(lsb_enabled=bit(random), **first, **_second_word(random)) / payload(random)


def encrypted(random: Random) -> Packet:
    return lisp.LISPData(key_id=random.randint(1, 3), **_second_word(random)) / Raw(random.randbytes(40))


def gpe(random: Random) -> Packet:
    header = lisp.LISPGPE(lsb_enabled=bit(random), **_second_word(random))
    frame = Ether(src=mac(random), dst=mac(random)) / payload(random) if bit(random) else payload(random)
    shim = lisp.Shim(type=octet(random), specific=random.randbytes(4 * random.randrange(4)))
    if bit(random):
        header.next_protocol = 0x80
        return header / shim / frame
    return header / frame


DATA: dict[str, Maker] = {"data": data_header, "encrypted": encrypted, "gpe": gpe}
