"""The third opinion: what our own decoder makes of octets, against what the Scapy layers make of them."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from scapy.layers.inet import UDP
from scapy.packet import Packet

from nodes.lisp import wire
from nodes.lisp.wire import EncapsulatedControlMessage, InstanceId
from testbed.observe import scapy_lisp as lisp

NAMES = {
    wire.MapRequest: "Map-Request",
    wire.MapReply: "Map-Reply",
    wire.MapRegister: "Map-Register",
    wire.MapNotify: "Map-Notify",
    wire.MapNotifyAck: "Map-Notify-Ack",
    EncapsulatedControlMessage: "Encapsulated Control Message",
}


def _plain(address: Any) -> Any:
    """An address of ours, as plain values."""
    match address:
        case wire.NoAddress():
            return None
        case InstanceId():
            return ("instance", address.instance_id, address.mask_len, _plain(address.address))
        case wire.ExplicitLocatorPath():
            return ("path", [(_plain(hop.address), hop.lookup, hop.probe, hop.strict) for hop in address.hops])
        case IPv4Address() | IPv6Address():
            return str(address)
    return wire.encode_address(address)


def _read(address: Packet) -> Any:
    """The same of an address as the Scapy layers have read it."""
    match address:
        case lisp.NoAddress():
            return None
        case lisp.InstanceID():
            return ("instance", address.instance_id, address.iid_mask_len, _read(address.address))
        case lisp.ExplicitLocatorPath():
            return (
                "path",
                [(_read(hop.hop), bool(hop.lookup), bool(hop.rloc_probe), bool(hop.strict)) for hop in address.hops],
            )
        case lisp.IPv4Address() | lisp.IPv6Address():
            return address.address
    return bytes(address)


def _same_record(ours: wire.EidRecord, read: Packet) -> None:
    assert (ours.ttl_minutes, ours.mask_len, ours.action) == (read.record_ttl, read.eid_mask_len, read.act)
    assert (ours.authoritative, ours.map_version) == (read.authoritative, read.map_version_number)
    assert _plain(ours.address) == _read(read.eid_prefix)
    assert (read.reserved, read.rsvd) == (0, 0)
    for one, other in zip(ours.locators, read.locators, strict=True):
        numbers = (one.priority, one.weight, one.multicast_priority, one.multicast_weight)
        assert numbers == (other.priority, other.weight, other.m_priority, other.m_weight)
        assert (one.local, one.probed, one.reachable) == (other.local, other.probed, other.reachable)
        assert _plain(one.address) == _read(other.locator)
        assert other.unused_flags == 0


def _same_records(ours: Any, read: Packet) -> None:
    for one, other in zip(ours.records, read.records, strict=True):
        _same_record(one, other)


def _same_request(ours: wire.MapRequest, read: Packet) -> None:
    names = {"smr_invoked": "smr_invoked", "dont_reply": "dont_map_reply"}
    for name in ("authoritative", "probe", "smr", "pitr", "local_xtr", *names):
        assert getattr(ours, name) == read.getfieldval(names.get(name, name)), name
    assert (read.reserved, read.rsvd) == (0, 0)
    assert (ours.xtr_id is not None) == bool(read.xtr_id_present)
    _same_identity(ours, read)
    assert ours.nonce == read.nonce
    assert _plain(ours.source_eid) == _read(read.source_eid)
    assert [_plain(one) for one in ours.itr_rlocs] == [_read(one) for one in read.itr_rlocs]
    for one, other in zip(ours.records, read.records, strict=True):
        assert (_plain(one.address), one.mask_len) == (_read(other.eid_prefix), other.eid_mask_len)
        assert (other.notification_requested, other.reserved) == (one.notify, 0)
    assert (ours.reply_record is not None) == read.map_data_present == len(read.map_reply_record)
    if ours.reply_record is not None:
        _same_record(ours.reply_record, read.map_reply_record[0])


def _same_identity(ours: Any, read: Packet) -> None:
    assert (ours.xtr_id is not None) == bool(read.haslayer(lisp.Identity))
    if ours.xtr_id is not None:
        identity = read[lisp.Identity]
        assert (ours.xtr_id, ours.site_id) == (identity.xtr_id, int.from_bytes(identity.site_id, "big"))


def _same_registration(ours: Any, read: Packet) -> None:
    assert (ours.nonce, ours.key_id, ours.algorithm_id) == (read.nonce, read.key_id, read.algorithm_id)
    assert ours.auth_data == read.authentication_data
    _same_records(ours, read)
    _same_identity(ours, read)
    if isinstance(ours, wire.MapRegister):
        names = {
            "proxy_reply": "proxy_map_reply", "security_capable": "security_capable", "eid_notify": "eid_notify",
            "use_ttl": "use_ttl_for_timeout", "merge": "merge_request", "want_notify": "want_map_notify",
        }  # fmt: skip
        for name, theirs in names.items():
            assert getattr(ours, name) == read.getfieldval(theirs), name
        assert (read.reserved, read.reserved_r) == (0, 0)
    else:
        assert read.reserved == 0


def same(ours: Any, read: Packet) -> None:
    """Each value of a control message at its place, the reserved bits 0, and nothing left over."""
    assert lisp.defects(read) == []
    assert read.name == f"LISP {NAMES[type(ours)]}"
    if isinstance(ours, EncapsulatedControlMessage):
        assert (read.security, read.ddt, read.reserved) == (0, 0, 0)
        inner = ours.unwrap()
        datagram = read.getlayer(UDP)
        assert (datagram.sport, datagram.dport) == (inner.source_port, 4342)
        assert str(inner.destination) == datagram.underlayer.dst
        request = wire.decode(inner.message)
        assert isinstance(request, wire.MapRequest)
        _same_request(request, read.request())
    elif isinstance(ours, wire.MapRequest):
        _same_request(ours, read)
    elif isinstance(ours, wire.MapReply):
        assert (ours.nonce, ours.probe, ours.echo_nonce) == (read.nonce, read.probe, read.echo_nonce)
        assert (read.security, read.reserved) == (0, 0)
        _same_records(ours, read)
    else:
        _same_registration(ours, read)


def same_data_header(ours: wire.DataHeader, read: Packet) -> None:
    """Each bit and number of a data header."""
    assert type(read) is lisp.LISPData
    assert (ours.nonce is not None) == read.nonce_present
    assert (ours.instance_id is not None) == read.instance_id_present
    assert (ours.locator_status_bits is not None) == read.lsb_enabled
    assert (ours.versions is not None) == read.map_version_present
    assert ours.echo == read.echo_nonce_request
    assert (read.reserved, read.key_id) == (0, 0)
    bits = read.locator_status_bits if ours.instance_id is None else read.lsbs
    assert bits == (ours.locator_status_bits or 0)
    if ours.instance_id is not None:
        assert ours.instance_id == read.instance_id
    if ours.nonce is not None:
        assert ours.nonce == read.nonce
    if ours.versions is not None:
        assert (ours.versions.source, ours.versions.destination) == (
            read.source_map_version,
            read.dest_map_version,
        )
