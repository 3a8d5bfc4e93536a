"""A packet for people: in one line, and field by field."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scapy.fields import PadField
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.packet import NoPayload, Packet, Raw

from testbed.observe.scapy_lisp.data import LISPGPE, LISPData
from testbed.observe.scapy_lisp.ecm import EncapsulatedControlMessage
from testbed.observe.scapy_lisp.map_notify import MapNotify, MapNotifyAck
from testbed.observe.scapy_lisp.map_register import MapRegister
from testbed.observe.scapy_lisp.map_reply import MapReply
from testbed.observe.scapy_lisp.map_request import MapRequest
from testbed.observe.scapy_lisp.message import LISP
from testbed.observe.scapy_lisp.records import EIDRecord, RequestRecord, RLOCRecord

_MOST_RECORDS = 3
_MOST_TEXT = 200
_ACTIONS = {0: "no action", 1: "natively forward", 2: "send Map-Request", 3: "drop", 4: "drop: policy",
            5: "drop: authentication"}  # fmt: skip


def told(packet: Packet, most: int = _MOST_RECORDS) -> tuple[str, str]:
    """What kind of packet it is, in a word or two, and what it says, in a line: of its records, the first ``most``."""
    message = packet.getlayer(LISP, _subclass=True)
    data = packet.getlayer(LISPData) or packet.getlayer(LISPGPE)
    if data is not None and (message is None or _depth(packet, data) < _depth(packet, message)):
        return "data", _data(data)
    if message is None:
        return _plain(packet)
    inner = message.request() if isinstance(message, EncapsulatedControlMessage) else message
    kind, words = _message(inner, most)
    return kind, f"encapsulated, {words}" if inner is not message else words


def _depth(packet: Packet, layer: Packet) -> int:
    depth = 0
    while packet is not layer and not isinstance(packet, NoPayload):
        packet, depth = packet.payload, depth + 1
    return depth


def _message(message: Packet, most: int) -> tuple[str, str]:
    match message:
        case MapRequest():
            kind = "SMR" if message.smr else "RLOC-probe" if message.probe else "Map-Request"
            return kind, "for " + _some([_prefix(one) for one in message.records], most)
        case MapReply():
            return "probe reply" if message.probe else "Map-Reply", _some(
                [_mapping(one) for one in message.records], most
            )
        case MapRegister() | MapNotify() | MapNotifyAck():
            return str(message.name).removeprefix("LISP "), _some([_mapping(one) for one in message.records], most)
    return str(message.name).removeprefix("LISP "), ""


def _some(words: list[str], most: int) -> str:
    more = len(words) - most
    return "; ".join(words[:most]) + (f" and {more} more" if more > 0 else "") if words else "no record"


def _prefix(record: Packet) -> str:
    if not isinstance(record, RequestRecord | EIDRecord):
        return "octets that are no record"
    return f"{_address(record.eid_prefix)}/{record.eid_mask_len}"


def _address(address: Any) -> str:
    inner = getattr(address, "address", None)
    if (instance := getattr(address, "instance_id", None)) is not None:
        return f"[{instance}] {_address(inner)}"
    return str(inner) if isinstance(inner, str) else getattr(address, "name", "?")


def _mapping(record: Packet) -> str:
    if not isinstance(record, EIDRecord):
        return "octets that are no record"
    rlocs = [_address(one.locator) if isinstance(one, RLOCRecord) else "?" for one in record.locators]
    to = ", ".join(rlocs) if rlocs else _ACTIONS.get(record.act, f"action {record.act}")
    return f"{_prefix(record)} → {to}{'' if record.record_ttl else ', TTL 0'}"


def _data(header: Packet) -> str:
    instance = f"[{header.instance_id}] " if header.instance_id_present else ""
    return f"{instance}{_plain(header.payload)[1]}"


def _plain(packet: Packet) -> tuple[str, str]:
    if arp := packet.getlayer(ARP):
        return "ARP", f"{arp.psrc} asks for {arp.pdst}" if arp.op == 1 else f"{arp.psrc} is at {arp.hwsrc}"
    network = packet.getlayer(IP) or packet.getlayer(IPv6)
    if network is None:
        return "frame", str(packet.name)
    above = network.payload
    name = str(above.name).rpartition(" - ")[2]
    ends = f"{network.src} → {network.dst}"
    if isinstance(above, UDP | TCP):
        return name, f"{ends}, {name} {above.sport} → {above.dport}"
    what = "data" if isinstance(above, Raw | NoPayload) else name
    kind = getattr(above, "type", None)
    if isinstance(kind, int):
        what = f"{what} {above.get_field('type').i2repr(above, kind)}" if what == "ICMP" else what
    return what, f"{ends}, {what}"


def headline(frame: bytes, most: int = _MOST_RECORDS) -> tuple[str, str]:
    """What an Ethernet frame is, as :func:`told` says it."""
    return told(Ether(frame), most)


def dissected(frame: bytes) -> list[dict[str, Any]]:
    """The layers of an Ethernet frame, as :func:`layers` tells them."""
    return list(layers(Ether(frame)))


def layers(packet: Packet) -> Iterator[dict[str, Any]]:
    """Each layer: ``name``, ``at`` and ``size`` in octets, ``fields``: [name, value] or [name, what, fields inside]."""
    at, layer = 0, packet
    while not isinstance(layer, NoPayload):
        size = len(layer.original) - len(layer.payload.original) if layer.payload.original else len(layer.original)
        yield {"name": str(layer.name), "at": at, "size": size, "fields": list(_fields(layer))}
        at, layer = at + size, layer.payload


def _fields(packet: Packet) -> Iterator[list[Any]]:
    for field in packet.fields_desc:
        value = packet.getfieldval(field.name)
        if value is None or not getattr(field, "cond", lambda _packet: True)(packet):
            continue
        if field.holds_packets:
            for number, held in enumerate(value if isinstance(value, list) else [value], 1):
                name = f"{field.name} {number}" if isinstance(value, list) else field.name
                yield [name, str(getattr(held, "name", "")), list(_fields(held))]
            continue
        inner: Any = getattr(field, "fld", field)
        shown = value.hex(" ") if isinstance(value, bytes) else inner.i2repr(packet, value)
        shown = str(shown).strip("'")
        if not isinstance(inner, PadField):
            yield [field.name, shown if len(shown) <= _MOST_TEXT else shown[:_MOST_TEXT] + " …"]
