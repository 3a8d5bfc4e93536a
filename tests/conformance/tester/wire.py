"""LISP control messages written and read by hand, from the figures of RFC 9301.

Nothing here comes from ``nodes``: what the routers send is read, and what they are sent is written, by other code.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from tests.conformance.tester.packets import Datagram, IPAddress, datagram, read_datagram

IPNetwork = IPv4Network | IPv6Network

CONTROL = 4342
MAP_REQUEST, MAP_REPLY, MAP_REGISTER, MAP_NOTIFY, MAP_NOTIFY_ACK, ECM = 1, 2, 3, 4, 5, 8

LCAF = 16387
SIZES = {0: 0, 1: 4, 2: 16, 6: 6}
"""Octets of an address by its AFI."""

# Map-Request bits of the first word (RFC 9301 section 5.2).
PROBE, SMR, PITR, SMR_INVOKED, DONT_REPLY = 1 << 25, 1 << 24, 1 << 23, 1 << 22, 1 << 13
# Map-Register bits (section 5.6).
ASKED_WITH_XTR_ID, NOTIFY = 1 << 20, 1 << 7
PROXY_REPLY, WITH_XTR_ID, USE_TTL, MERGE, WANT_NOTIFY = 1 << 27, 1 << 25, 1 << 11, 1 << 10, 1 << 8


# Writing


def _address(address: Any) -> bytes:
    """AFI and address; None is AFI 0."""
    if address is None:
        return b"\0\0"
    packed = ip_address(str(address)).packed
    return struct.pack("!H", 1 if len(packed) == 4 else 2) + packed


def map_request(
    nonce: int,
    eids: Sequence[Any],
    itr_rlocs: Sequence[Any],
    *,
    flags: int = 0,
    source_eid: Any = None,
    identity: bytes = b"",
) -> bytes:
    """A Map-Request; ``eids`` are prefixes, ``flags`` is or-ed into the first word.

    With an ``identity``, an xTR-ID and a Site-ID, it subscribes to them (RFC 9437 section 4).
    """
    flags |= ASKED_WITH_XTR_ID if identity else 0
    word = MAP_REQUEST << 28 | flags | (len(itr_rlocs) - 1) << 8 | len(eids)
    message = struct.pack("!IQ", word, nonce) + _address(source_eid) + b"".join(map(_address, itr_rlocs))
    for eid in map(ip_network, map(str, eids)):
        message += struct.pack("!BB", NOTIFY if identity else 0, eid.prefixlen) + _address(eid.network_address)
    return message + identity


def ecm(source: Any, source_port: int, eid: Any, message: bytes) -> bytes:
    """An Encapsulated Control Message around a control message to ``eid``."""
    return struct.pack("!I", ECM << 28) + datagram(source, eid, (source_port, CONTROL), message)


def mapping(
    prefix: Any, ttl: int = 1440, locators: Iterable[tuple[Any, int, int]] = (), *, action: int = 0, bits: int = 1
) -> bytes:
    """An EID-record; ``bits`` are the L, p and R bits of each locator (RFC 9301 section 5.4)."""
    network, rlocs = ip_network(str(prefix)), list(locators)
    record = struct.pack("!IBBHH", ttl, len(rlocs), network.prefixlen, action << 13, 0)
    record += _address(network.network_address)
    for rloc, priority, weight in rlocs:
        record += struct.pack("!BBBBH", priority, weight, 255, 0, bits) + _address(rloc)
    return record


def map_reply(nonce: int, *records: bytes, flags: int = 0) -> bytes:
    """A Map-Reply."""
    return struct.pack("!IQ", MAP_REPLY << 28 | flags | len(records), nonce) + b"".join(records)


def map_register(
    nonce: int,
    records: Sequence[bytes],
    secret: str,
    *,
    key_id: int = 1,
    algorithm: int = 3,
    flags: int = WANT_NOTIFY,
    identity: tuple[bytes, int] | None = None,
) -> bytes:
    """A Map-Register of Algorithm ID 2 or 3; ``identity`` is xTR-ID and Site-ID."""
    tail = b"" if identity is None else identity[0] + struct.pack("!Q", identity[1])
    word = MAP_REGISTER << 28 | flags | (WITH_XTR_ID if tail else 0) | len(records)
    return _signed(word, nonce, (key_id, algorithm, secret), b"".join(records) + tail)


def map_notify(nonce: int, count: int, records: bytes, secret: str, *, key_id: int = 1, algorithm: int = 3) -> bytes:
    """A Map-Notify; ``records`` are the octets of ``count`` records."""
    return _signed(MAP_NOTIFY << 28 | count, nonce, (key_id, algorithm, secret), records)


def _signed(word: int, nonce: int, key: tuple[int, int, str], rest: bytes) -> bytes:
    """A message with Authentication Data; ``key`` is Key ID, Algorithm ID and secret."""
    key_id, algorithm, secret = key
    size = 20 if algorithm == 1 else 16
    head = struct.pack("!IQBBH", word, nonce, key_id, algorithm, size)
    return head + mac(head + bytes(size) + rest, nonce, secret, word >> 28, algorithm) + rest


SALTS = {
    MAP_REGISTER: b"Map-Register Authentication",
    MAP_NOTIFY: b"Map-Notify Authentication",
    MAP_NOTIFY_ACK: b"Map-Notify-Ack Authentication",
}


def mac(blank: bytes, nonce: int, secret: str, kind: int, algorithm: int = 3) -> bytes:
    """The Authentication Data of a message (RFC 9301 sections 5.6 and 12.5; RFC 5869 for Algorithm ID 3)."""
    if algorithm == 1:
        return hmac.digest(secret.encode(), blank, hashlib.sha1)
    key = secret.encode()
    if algorithm == 3:
        extracted = hmac.digest(SALTS[kind], struct.pack("!Q", nonce) + key, hashlib.sha256)
        key = hmac.digest(extracted, b"\x01", hashlib.sha256)
    return hmac.digest(key, blank, hashlib.sha256)[:16]


# Reading


@dataclass(frozen=True)
class Locator:
    """A locator of a record: ``bits`` are the L, p and R bits; ``rloc`` is an IP address, or the octets of an LCAF."""

    rloc: Any
    priority: int
    weight: int
    bits: int


@dataclass(frozen=True)
class Record:
    """An EID-record, or a request record, of which only the prefix has a meaning."""

    prefix: IPNetwork
    ttl: int = 0
    action: int = 0
    authoritative: bool = False
    reserved: int = 0
    locators: tuple[Locator, ...] = ()


@dataclass(frozen=True)
class Message:
    """A control message. Fields that its type does not have are empty.

    Attributes:
        type: The first four bits.
        word: The first 32 bits.
        inner: Of an Encapsulated Control Message, the datagram inside.
        blank: Of a signed message, its bytes with the Authentication Data zeroed.
        octets: Those of its records.
    """

    type: int
    word: int
    nonce: int = 0
    source_eid: Any = None
    itr_rlocs: tuple[IPAddress | None, ...] = ()
    records: tuple[Record, ...] = ()
    key_id: int = 0
    algorithm: int = 0
    authentication: bytes = b""
    blank: bytes = b""
    octets: bytes = b""
    tail: bytes = b""
    inner: Datagram | None = None


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, count: int) -> bytes:
        self.at += count
        assert self.at <= len(self.data), "a control message is cut short"
        return self.data[self.at - count : self.at]

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")

    def address(self) -> Any:
        """An IP address, or None, or the octets of an LCAF or of a MAC address behind their AFI."""
        afi = self.number(2)
        if afi == LCAF:
            head = self.take(6)
            return head + self.take(int.from_bytes(head[4:], "big"))
        assert afi in SIZES, f"AFI {afi}"
        octets = self.take(SIZES[afi])
        return ip_address(octets) if afi in (1, 2) else octets or None

    def prefix(self, length: int) -> IPNetwork:
        address = self.address()
        assert isinstance(address, IPAddress), "an EID-prefix that is none of IP"
        return ip_network((address, length))

    def question(self) -> Record:
        reserved, length = self.number(1), self.number(1)
        return Record(self.prefix(length), reserved=reserved)

    def record(self) -> Record:
        ttl, count, length, bits, version = (self.number(size) for size in (4, 1, 1, 2, 2))
        prefix = self.prefix(length)
        locators = []
        for _ in range(count):
            priority, weight, _multicast, bit_field = (self.number(size) for size in (1, 1, 2, 2))
            rloc = self.address()
            assert rloc is not None
            locators.append(Locator(rloc, priority, weight, bit_field))
        reserved = bits & 0xFFF | version >> 12
        return Record(prefix, ttl, bits >> 13, bool(bits & 0x1000), reserved, tuple(locators))


def read(payload: bytes) -> Message:
    """A whole control message; the assertions inside are about its shape."""
    reader = _Reader(payload)
    word = reader.number(4)
    kind = word >> 28
    if kind == ECM:
        return Message(kind, word, inner=read_datagram(payload[4:]))
    nonce, count = reader.number(8), word & 0xFF
    if kind == MAP_REQUEST:
        source_eid = reader.address()
        rlocs = tuple(reader.address() for _ in range((word >> 8 & 0x1F) + 1))
        questions = tuple(reader.question() for _ in range(count))
        tail = reader.take(24 if word & ASKED_WITH_XTR_ID else 0)
        message = Message(kind, word, nonce, source_eid, rlocs, questions, tail=tail)
    elif kind == MAP_REPLY:
        message = Message(kind, word, nonce, records=tuple(reader.record() for _ in range(count)))
    else:
        key_id, algorithm, size = reader.number(1), reader.number(1), reader.number(2)
        authentication = reader.take(size)
        blank = payload[: reader.at - size] + bytes(size) + payload[reader.at :]
        begin = reader.at
        records = tuple(reader.record() for _ in range(count))
        octets = payload[begin : reader.at]
        tail = reader.take(24 if kind == MAP_REGISTER and word & WITH_XTR_ID else 0)
        message = Message(
            kind, word, nonce, records=records, key_id=key_id, algorithm=algorithm,
            authentication=authentication, blank=blank, octets=octets, tail=tail,
        )  # fmt: skip
    assert reader.at == len(payload), "bytes behind the end of a control message"
    return message
