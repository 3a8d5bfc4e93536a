"""Whether a packet is all there: what a dissector leaves raw, or counts that do not count, are for a judge to name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from scapy.config import conf
from scapy.fields import FieldLenField, XStrFixedLenField
from scapy.packet import NoPayload, Packet

_PACKAGE = __name__.rpartition(".")[0]


def defects(packet: Packet) -> list[str]:
    """What in the LISP layers of a packet cannot be read as the texts draw it, a line each; empty when all of it can.

    Raw octets behind anything but LISP (the data of an inner UDP datagram) are none. Cipher text is none (RFC 8061).

    Args:
        packet: A dissected packet, from whatever layer on.
    """
    return list(_layers(packet))


def _ours(packet: Packet) -> bool:
    return type(packet).__module__.startswith(_PACKAGE)


def _layers(packet: Packet) -> Iterator[str]:
    layer: Packet = packet
    while not isinstance(layer, NoPayload):
        if _ours(layer):
            yield from _inside(layer, str(layer.name))
            above = layer.payload
            if isinstance(above, conf.raw_layer) and not getattr(layer, "encrypted", False):
                yield f"{layer.name}: {len(above.load)} octets behind it are raw"
        layer = layer.payload


def _inside(packet: Packet, where: str) -> Iterator[str]:
    for field in packet.fields_desc:
        value = packet.getfieldval(field.name)
        inner: Any = getattr(field, "fld", field)
        if value is None:
            continue
        if getattr(inner, "count_of", None) or getattr(inner, "length_of", None):
            counted = FieldLenField.i2m(inner, packet, None)
            if counted != value:
                yield f"{where}, {field.name}: says {value}, is {counted}"
        elif isinstance(inner, XStrFixedLenField) and len(value) < inner.sz:
            yield f"{where}, {field.name}: has {len(value)} of {inner.sz} octets"
        if field.holds_packets:
            yield from _held(value, f"{where}, {field.name}")


def _held(value: Any, where: str) -> Iterator[str]:
    many = value if isinstance(value, list) else [value]
    for number, one in enumerate(many, 1):
        place = f"{where} {number}" if isinstance(value, list) else where
        if isinstance(one, conf.raw_layer):
            yield f"{place}: {len(one.load)} octets are raw"
        else:
            yield from _inside(one, place)
            if isinstance(one.payload, conf.raw_layer):
                yield f"{place}: {len(one.payload.load)} octets behind its fields are raw"


def reserved_bits(packet: Packet) -> list[str]:
    """The reserved fields in the LISP layers of a packet that are not 0, as a sender has to leave them."""
    found: list[str] = []
    layer: Packet = packet
    while not isinstance(layer, NoPayload):
        if _ours(layer):
            found += _reserved(layer, str(layer.name))
        layer = layer.payload
    return found


def _reserved(packet: Packet, where: str) -> Iterator[str]:
    for field in packet.fields_desc:
        value = packet.fields.get(field.name)
        if field.name.startswith(("reserved", "rsvd", "unused", "unassigned")) and value:
            yield f"{where}, {field.name}: {value:#x}"
        if field.holds_packets and value is not None:
            for held in value if isinstance(value, list) else [value]:
                yield from _reserved(held, f"{where}, {field.name}")
