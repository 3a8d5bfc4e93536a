"""LISP encapsulation and decapsulation, byte for byte (RFC 9300 section 5.3)."""

from __future__ import annotations

import struct
from collections.abc import Callable

from nodes.dataplane.decision import Encapsulate
from nodes.lisp.effects import DATA_PORT
from nodes.lisp.wire.data_header import DataHeader

FLAG_STATUS_BITS, FLAG_INSTANCE = 0x40, 0x08
MASK_ENCRYPTION_KEY = 0x03
LISP_HEADER = 8

_UDP = 17
_DONT_FRAGMENT = 0x4000
_V4 = struct.Struct("!BBHIB15sH10s")
_V6 = struct.Struct("!IHBB36sH10s")

_ECN_DROP = 0xFF


def _decapsulated_ecn() -> bytes:
    """RFC 6040 section 4.2, figure 4: the ECN field after decapsulation, indexed by inner << 2 | outer."""
    not_ect, ect1, ect0, ce = 0, 1, 2, 3
    rows = {  # by outer: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE
        not_ect: (not_ect, not_ect, not_ect, _ECN_DROP),
        ect1: (ect1, ect1, ect1, ce),
        ect0: (ect0, ect1, ect0, ce),
        ce: (ce, ce, ce, ce),
    }
    return bytes(rows[inner][outer] for inner in range(4) for outer in range(4))


DECAPSULATED_ECN = _decapsulated_ecn()


def decapsulated_tos(inner: int, outer: int) -> int | None:
    """The DSCP and ECN byte of a decapsulated packet, or None when it is to be dropped.

    The DSCP is the outer one (RFC 9300 section 5.3). ECN follows RFC 6040: congestion met in the core that the inner
    packet cannot express drops it.
    """
    ecn = DECAPSULATED_ECN[(inner & 3) << 2 | outer & 3]
    return None if ecn == _ECN_DROP else outer & 0xFC | ecn


def header_writer(verdict: Encapsulate) -> Callable[[int, int, int], bytes]:
    """Everything in front of the packets of one flow, prepared once.

    Returns:
        A function of (DSCP and ECN byte, TTL, length) of the inner packet that gives outer IP, UDP and LISP header.
        TTL, DSCP and ECN are the inner ones (RFC 9300 section 5.3, RFC 6040 section 4.1); the UDP checksum is zero
        (section 5.3), DF is set (section 7.1); total length, identification and header checksum of IPv4 are 0: the
        kernel fills them in.
    """
    ports = struct.pack("!HH", verdict.source_port, DATA_PORT)
    # D10: no nonce, and Locator-Status-Bits only where they are switched on; D08: reserved bits 0.
    addresses = verdict.source.packed + verdict.locator.packed
    lisp = DataHeader(instance_id=verdict.instance_id or None, locator_status_bits=verdict.status_bits)
    tail = b"\0\0" + lisp.encode()
    added = 8 + LISP_HEADER
    if verdict.locator.version == 4:
        middle = struct.pack("!BH", _UDP, 0) + addresses + ports
        pack = _V4.pack

        def over_ipv4(tos: int, ttl: int, length: int) -> bytes:
            return pack(0x45, tos, 0, _DONT_FRAGMENT, ttl, middle, length + added, tail)

        return over_ipv4

    middle = addresses + ports
    pack = _V6.pack
    label = 6 << 28 | verdict.source_port  # the flow label names the flow as the port does (RFC 6438)

    def over_ipv6(tos: int, ttl: int, length: int) -> bytes:
        return pack(label | tos << 20, length + added, _UDP, ttl, middle, length + added, tail)

    return over_ipv6
