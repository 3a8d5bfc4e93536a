"""Keys and values of the kernel's maps, byte for byte as ``bpf/maps.h`` has them."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nodes.dataplane.bpf import layout
from nodes.dataplane.bpf.layout import EventKind, LocalFlag
from nodes.lisp.eid import EidPrefix, IPAddress

_SCOPES: dict[tuple[int, int], bytes] = {}
_IPV4_REST = bytes(12)


def scope(instance_id: int, version: int) -> bytes:
    """An instance-ID and an IP version, as all keys begin."""
    found = _SCOPES.get((instance_id, version))
    if found is None:
        found = _SCOPES[instance_id, version] = (instance_id << 8 | version).to_bytes(4, "big")
    return found


def padded(address: IPAddress) -> bytes:
    """An address in 16 bytes."""
    return address.packed + _IPV4_REST if address.version == 4 else address.packed


def unpadded(version: int, data: bytes) -> IPAddress:
    """The address in 16 bytes."""
    return IPv4Address(data[:4]) if version == 4 else IPv6Address(data)


def eid_key(prefix: EidPrefix) -> bytes:
    """``struct eid_key``."""
    network = prefix.network
    address = padded(network.network_address)
    return layout.EID_KEY.pack(32 + network.prefixlen, scope(prefix.instance_id, network.version), address)


def eid_prefix(key: bytes) -> EidPrefix:
    """What a ``struct eid_key`` says."""
    length, scope_bytes, address = layout.EID_KEY.unpack(key)
    instance_id, version = _unscoped(scope_bytes)
    where = unpadded(version, address)
    network = (IPv4Network if version == 4 else IPv6Network)((where.packed, length - 32))
    return EidPrefix(network, instance_id)


def _unscoped(scope_bytes: bytes) -> tuple[int, int]:
    number = int.from_bytes(scope_bytes, "big")
    return number >> 8, number & 0xFF


@dataclass(frozen=True, slots=True)
class Candidate:
    """``struct candidate``: a place in ``locators`` with priority and weight."""

    place: int
    priority: int
    weight: int


def candidates(found: list[Candidate]) -> bytes:
    """The candidates of a mapping."""
    packed = b"".join(layout.CANDIDATE.pack(one.place, one.priority, one.weight) for one in found)
    return packed.ljust(layout.MOST_CANDIDATES * layout.CANDIDATE.size, b"\0")


NO_COUNTER = bytes(layout.COUNTER.size)


@dataclass(frozen=True, slots=True)
class Past:
    """What a mapping hands on to the one that replaces it.

    Attributes:
        number: By which flows that the programs know name it and its counter.
        is_open: Whether its gate is open.
        counter: The bytes of its ``struct counter``.
    """

    number: int
    is_open: bool = False
    counter: bytes = NO_COUNTER


def mapping(action: int, count: int, bits: int, open_until: int, past: Past, of: bytes) -> bytes:
    """``struct mapping`` of an EID-prefix with so many ``bits``; ``of`` are its candidates."""
    return layout.MAPPING.pack(action, count, past.is_open, bits, past.number, open_until, past.counter, of)


@dataclass(frozen=True, slots=True)
class Mapping:
    """What a ``struct mapping`` says; ``counter`` is the bytes of its ``struct counter``."""

    action: int
    number: int
    is_open: bool
    counter: bytes
    candidates: tuple[Candidate, ...]

    @classmethod
    def read(cls, value: bytes) -> Mapping:
        """Decode one."""
        action, count, is_open, _, number, _, counter, packed = layout.MAPPING.unpack(value)
        found = list(layout.CANDIDATE.iter_unpack(packed))[:count]
        return cls(action, number, bool(is_open), counter, tuple(Candidate(*one) for one in found))


def handed_on(value: bytes) -> Past:
    """Of a ``struct mapping`` that is replaced."""
    _, _, is_open, _, number, _, counter, _ = layout.MAPPING.unpack(value)
    return Past(number, bool(is_open), counter)


EMPTY_LOCATOR = bytes(layout.LOCATOR.size)


def locator(address: IPAddress, source: IPAddress | None, usable: bool, mtu: int) -> bytes:
    """``struct locator``; ``mtu`` is that of inner packets in bytes."""
    own = padded(source) if source is not None else bytes(16)
    return layout.LOCATOR.pack(address.version, usable, max(0, min(mtu, 0xFFFF)), own, padded(address))


@dataclass(frozen=True, slots=True)
class Locator:
    """What a ``struct locator`` says; of an empty place, ``address`` is None."""

    address: IPAddress | None
    source: IPAddress | None = None
    usable: bool = False
    mtu: int = 0

    @classmethod
    def read(cls, value: bytes) -> Locator:
        """Decode one."""
        version, usable, mtu, source, address = layout.LOCATOR.unpack(value)
        if not version:
            return cls(None)
        own = unpadded(version, source) if any(source) else None
        return cls(unpadded(version, address), own, bool(usable), mtu)

    def __str__(self) -> str:
        state = "usable" if self.usable else "not usable"
        return "empty" if self.address is None else f"{self.address} from {self.source} {state} mtu {self.mtu}"


def local(flags: int, is_open: bool, open_until: int, status_bits: int | None = None) -> bytes:
    """``struct local``; ``status_bits`` None: its packets carry no Locator-Status-Bits."""
    return layout.LOCAL.pack(flags, is_open, status_bits is not None, status_bits or 0, open_until)


def local_flags(value: bytes) -> LocalFlag:
    """The flags of a ``struct local``."""
    return LocalFlag(value[0])


def port(instance_id: int, device: int, gate: int) -> bytes:
    """``struct port``."""
    return layout.PORT.pack(instance_id, device, gate)


def transit(device: int, gate: int, beside: int | None) -> bytes:
    """``struct transit``; ``beside`` None: nothing comes out of the instance's own device."""
    return layout.TRANSIT.pack(device, gate, layout.NO_GATE if beside is None else beside)


def rloc_key(address: IPAddress) -> bytes:
    """``struct rloc_key``."""
    return layout.RLOC_KEY.pack(address.version, padded(address))


def rloc(key: bytes) -> IPAddress:
    """What a ``struct rloc_key`` says."""
    version, address = layout.RLOC_KEY.unpack(key)
    return unpadded(version, address)


def settings(enabled: bool, roles: int, generation: int) -> bytes:
    """``struct settings``; with another generation, the programs know no flow any more."""
    return layout.SETTINGS.pack(enabled, roles, generation & 0xFFFFFFFF)


def generation(value: bytes | None) -> int:
    """The generation of a ``struct settings``; of none 0."""
    found: int = layout.SETTINGS.unpack(value)[2] if value else 0
    return found


def contact(key: bytes) -> tuple[int, IPAddress, IPAddress]:
    """Instance-ID, EID and RLOC of a ``struct contact_key``."""
    scope_bytes, rloc_version, eid, address = layout.CONTACT_KEY.unpack(key)
    instance_id, version = _unscoped(scope_bytes)
    return instance_id, unpadded(version, eid), unpadded(rloc_version, address)


def told_key(kind: EventKind, eid: EidPrefix) -> bytes:
    """``struct told_key`` of an event that is about an EID alone."""
    about = layout.CONTACT_KEY.pack(scope(eid.instance_id, eid.version), 0, padded(eid.address), bytes(16))
    return layout.TOLD_KEY.pack(kind, about)


@dataclass(frozen=True, slots=True)
class Event:
    """What a ``struct event`` says; ``rloc`` is None for a source."""

    kind: EventKind
    instance_id: int
    eid: IPAddress
    rloc: IPAddress | None
    interface: int
    mac: bytes
    status_bits: int

    @classmethod
    def read(cls, data: bytes) -> Event:
        """Decode one.

        Raises:
            ValueError: Its kind is unknown.
            struct.error: It is too short.
        """
        kind, about, interface, mac, status_bits = layout.EVENT.unpack(data[: layout.EVENT.size])
        scope_bytes, rloc_version, eid, address = layout.CONTACT_KEY.unpack(about)
        instance_id, version = _unscoped(scope_bytes)
        sender = unpadded(rloc_version, address) if rloc_version else None
        return cls(EventKind(kind), instance_id, unpadded(version, eid), sender, interface, mac, status_bits)
