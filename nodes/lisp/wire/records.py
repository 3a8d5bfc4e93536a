"""What control messages are made of: EID-Records and RLOC-Records (RFC 9301 section 5.4), and questions (5.2)."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum

from nodes.lisp.config import UNUSED_PRIORITY
from nodes.lisp.eid import EidPrefix
from nodes.lisp.errors import DecodeError
from nodes.lisp.wire.addresses import (
    Address,
    decode_address,
    decode_mask_len,
    eid_prefix,
    encode_address,
    in_instance,
    sort_key,
)
from nodes.lisp.wire.cursor import Cursor, Layout, fit

_LOCAL, _PROBED, _REACHABLE = 1 << 2, 1 << 1, 1 << 0
_AUTHORITATIVE = 1 << 12

_LOCATOR_HEAD = Layout(("B", "Priority"), ("B", "Weight"), ("B", "M Priority"), ("B", "M Weight"), ("H", "flags"))
_EID_HEAD = Layout(
    ("I", "Record TTL"), ("B", "Locator Count"), ("B", "EID mask-len"), ("H", "ACT"), ("H", "Map-Version Number")
)
_QUESTION_HEAD = Layout(("B", "N and Reserved"), ("B", "EID mask-len"))
_NOTIFY = 1 << 7


class Action(IntEnum):
    """What a negative Map-Reply tells the ITR to do (RFC 9301 sections 5.4 and 12.3). 6 and 7 are unassigned."""

    NO_ACTION = 0
    NATIVELY_FORWARD = 1
    SEND_MAP_REQUEST = 2
    DROP_NO_REASON = 3
    DROP_POLICY_DENIED = 4
    DROP_AUTH_FAILURE = 5


@dataclass(frozen=True, slots=True)
class LocatorRecord:
    """One RLOC-Record (RFC 9301 section 5.4).

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |    Priority   |    Weight     |  M Priority   |   M Weight    |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |        Unused Flags     |L|p|R|           Loc-AFI             |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                             Locator                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        address: The RLOC.
        priority: 0 to 255; the lowest wins, 255 is never used for unicast.
        weight: 0 to 255; the share among locators of equal priority.
        multicast_priority: The same for multicast trees; 255 means not joined.
        multicast_weight: The same for multicast trees.
        local: L-bit, the locator is the sender's own.
        probed: p-bit, the locator is the one that was probed (Map-Reply only).
        reachable: R-bit, the sender has a route to it.
    """

    address: Address
    priority: int
    weight: int
    multicast_priority: int = UNUSED_PRIORITY
    multicast_weight: int = 0
    local: bool = False
    probed: bool = False
    reachable: bool = True

    def encode(self) -> bytes:
        """The record's bytes."""
        flags = _LOCAL * self.local | _PROBED * self.probed | _REACHABLE * self.reachable
        return struct.pack(
            "!BBBBH", self.priority, self.weight, self.multicast_priority, self.multicast_weight, flags
        ) + encode_address(self.address)

    @classmethod
    def decode(cls, cursor: Cursor) -> LocatorRecord:
        """Read one record.

        Raises:
            DecodeError: It is short, or its AFI is unknown.
        """
        priority, weight, multicast_priority, multicast_weight, flags = cursor.read(_LOCATOR_HEAD)
        return cls(
            decode_address(cursor, "Locator"),
            priority,
            weight,
            multicast_priority,
            multicast_weight,
            local=bool(flags & _LOCAL),
            probed=bool(flags & _PROBED),
            reachable=bool(flags & _REACHABLE),
        )


@dataclass(frozen=True, slots=True)
class EidRecord:
    """One EID-Record: an EID-prefix, its locator-set, and for how long (RFC 9301 section 5.4).

    ::

         0                   1                   2                   3
         0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                          Record TTL                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        | Locator Count | EID mask-len  | ACT |A|      Reserved         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        | Rsvd  |  Map-Version Number   |         EID-Prefix-AFI        |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                          EID-Prefix                           |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        address: The EID-prefix's address, inside an Instance ID LCAF unless the instance is 0.
        mask_len: Its length in bits.
        ttl_minutes: How long a cache may keep it; 0 means remove it, 0xffffffff leaves it to the receiver.
        locators: The locator-set; empty in a negative reply.
        action: What to do without locators, an :class:`Action` or an unassigned number.
        authoritative: A-bit, an ETR of the site speaks.
        map_version: 12 bits, 0 for none (RFC 9302).
    """

    address: Address
    mask_len: int
    ttl_minutes: int
    locators: tuple[LocatorRecord, ...] = ()
    action: int = Action.NO_ACTION
    authoritative: bool = False
    map_version: int = 0

    @classmethod
    def of(
        cls,
        prefix: EidPrefix,
        ttl_minutes: int,
        locators: Iterable[LocatorRecord] = (),
        action: int = Action.NO_ACTION,
        authoritative: bool = False,
        map_version: int = 0,
    ) -> EidRecord:
        """The record of an EID-prefix."""
        address = in_instance(prefix.address, prefix.instance_id)
        return cls(address, prefix.mask_len, ttl_minutes, tuple(locators), action, authoritative, map_version)

    @property
    def prefix(self) -> EidPrefix:
        """The EID-prefix.

        Raises:
            DecodeError: It is no IP prefix, or its instance-ID does not fit 24 bits.
        """
        return eid_prefix(self.address, self.mask_len)

    def encode(self) -> bytes:
        """The record's bytes, locators in the given order (see :func:`sorted_locators`)."""
        return b"".join(
            (
                struct.pack(
                    "!IBBHH",
                    self.ttl_minutes,
                    len(self.locators),
                    self.mask_len,
                    fit(self.action, 3, "ACT") << 13 | _AUTHORITATIVE * self.authoritative,
                    fit(self.map_version, 12, "Map-Version Number"),
                ),
                encode_address(self.address),
                *(locator.encode() for locator in self.locators),
            )
        )

    @classmethod
    def decode(cls, cursor: Cursor) -> EidRecord:
        """Read one record.

        Raises:
            DecodeError: It is short, an AFI is unknown, or the mask is longer than the address.
        """
        ttl_minutes, locator_count, mask_len, action_and_a, map_version = cursor.read(_EID_HEAD)
        address = decode_address(cursor, "EID-Prefix")
        decode_mask_len(cursor, address, mask_len)
        locators: list[LocatorRecord] = []
        try:
            while len(locators) < locator_count:
                locators.append(LocatorRecord.decode(cursor))
        except DecodeError as error:
            raise cursor.inside(f"locator {len(locators) + 1}", error) from None
        return cls(
            address,
            mask_len,
            ttl_minutes,
            tuple(locators),
            action_and_a >> 13,
            bool(action_and_a & _AUTHORITATIVE),
            map_version & 0xFFF,
        )


@dataclass(frozen=True, slots=True)
class RequestRecord:
    """One question of a Map-Request (RFC 9301 section 5.2, RFC 9437 section 4).

    ::

        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |N|  Reserved   | EID mask-len  |        EID-Prefix-AFI         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+
        |                       EID-Prefix  ...                         |
        +-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+-+

    Attributes:
        address: The address asked for, inside an Instance ID LCAF unless the instance is 0.
        mask_len: 32 or 128 for one EID; the mask of a cached prefix when that is asked again.
        notify: N-bit, the xTR wants to be told of changes.
    """

    address: Address
    mask_len: int
    notify: bool = False

    @classmethod
    def of(cls, prefix: EidPrefix, *, notify: bool = False) -> RequestRecord:
        """The question for an EID-prefix."""
        return cls(in_instance(prefix.address, prefix.instance_id), prefix.mask_len, notify)

    @property
    def prefix(self) -> EidPrefix:
        """The EID-prefix asked for.

        Raises:
            DecodeError: It is no IP prefix, or its instance-ID does not fit 24 bits.
        """
        return eid_prefix(self.address, self.mask_len)

    def encode(self) -> bytes:
        """The record's bytes."""
        return struct.pack("!BB", _NOTIFY * self.notify, self.mask_len) + encode_address(self.address)

    @classmethod
    def decode(cls, cursor: Cursor) -> RequestRecord:
        """Read one record.

        Raises:
            DecodeError: It is short, its AFI is unknown, or the mask is longer than the address.
        """
        flags, mask_len = cursor.read(_QUESTION_HEAD)
        address = decode_address(cursor, "EID-Prefix")
        return cls(address, decode_mask_len(cursor, address, mask_len), bool(flags & _NOTIFY))


def decode_records(cursor: Cursor, count: int) -> tuple[EidRecord, ...]:
    """Read ``count`` EID-Records.

    Raises:
        DecodeError: One of them cannot be read.
    """
    records: list[EidRecord] = []
    try:
        while len(records) < count:
            records.append(EidRecord.decode(cursor))
    except DecodeError as error:
        raise cursor.inside(f"record {len(records) + 1}", error) from None
    return tuple(records)


def sorted_locators(locators: Iterable[LocatorRecord]) -> tuple[LocatorRecord, ...]:
    """A locator-set in the order of the wire: ascending addresses, IPv4 before IPv6 (RFC 9301 section 5.5)."""
    return tuple(sorted(locators, key=lambda locator: sort_key(locator.address)))
