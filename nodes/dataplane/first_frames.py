"""Frames from hosts that are not known yet, as the Python path hears of them: whatever they are, and for whomever.

A packet socket at each site interface gets the beginnings of IP frames whose sources are inside dynamic prefixes, or
hosts of the own subnet that are away (requirement X10). Its filter (classic BPF, which has no tables) names the hosts
that are known: their frames cost no wake-up.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from itertools import islice

from nodes.dataplane.decision import Tables, is_stranger
from nodes.dataplane.neighbours import NEIGHBOUR_ADVERTISEMENT, NEIGHBOUR_SOLICITATION
from nodes.dataplane.packet import ICMPV6
from nodes.dataplane.strangers import Stranger
from nodes.dataplane.throttle import Throttle
from nodes.linux.socket_filter import (
    AND,
    JUMP,
    JUMP_EQUAL,
    LOAD_BYTE,
    LOAD_HALF,
    LOAD_WORD,
    LONGEST_JUMP,
    MULTIPLY,
    RETURN,
    TO_X,
    XOR_X,
    Instruction,
    attach,
)
from nodes.lisp.eid import IPAddress, IPNetwork, host_prefix

MOST_NAMED = 400
"""Known hosts of one IP version that a filter names, and missing ones: the kernel takes none of more than some 20 kB.
Frames of other known hosts come to the daemon as well, and are passed over there."""

_ETH_P_ALL, _ETH_IPV4, _ETH_IPV6, _ETHERNET = 3, 0x0800, 0x86DD, 14
_SOURCE = {4: _ETHERNET + 12, 6: _ETHERNET + 8}
_WORDS = {4: 1, 6: 4}
_BEGINNING = 64
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23
_BATCH = 64
_FACTOR = 0x9E3779B1
_NOTHING: Instruction = (RETURN, 0, 0, 0)
_BEGIN: Instruction = (RETURN, 0, 0, _BEGINNING)


class FirstFrames:
    """Notes the strangers at the site interfaces."""

    def __init__(
        self, tables: Tables, sites: Mapping[int, int], strangers: Throttle[Stranger], clock: Callable[[], float]
    ) -> None:
        """Listen in the caller's network namespace.

        Args:
            tables: Which prefixes are dynamic, and who is known.
            sites: The instance-ID of the hosts behind each site interface, by its index.
            strangers: Told of whom nobody knows.
            clock: The time in seconds.

        Raises:
            OSError: An interface is gone, or the caller may not.
        """
        self._tables, self._strangers, self._clock = tables, strangers, clock
        self._prefixes: dict[int, list[IPNetwork]] = {one: [] for one in tables.roaming}
        for prefix, _ in tables.dynamic.items():
            self._prefixes.setdefault(prefix.instance_id, []).append(prefix.network)
        self._known: dict[int, dict[IPAddress, None]] = {one: {} for one in self._prefixes}
        self._missing: dict[int, dict[IPAddress, None]] = {one: {} for one in self._prefixes}
        self._sockets = {
            _open(index): (index, instance_id) for index, instance_id in sites.items() if instance_id in self._prefixes
        }
        self._changed = set(self._prefixes)
        self.settle()

    @property
    def readers(self) -> Mapping[int, Callable[[], None]]:
        """What to call when which descriptor can be read."""
        return {opened.fileno(): partial(self._read, opened, *of) for opened, of in self._sockets.items()}

    def know(self, instance_id: int, address: IPAddress) -> None:
        """A host was found: its frames say nothing new."""
        if instance_id in self._known:
            self._known[instance_id][address] = None
            self._changed.add(instance_id)

    def forget(self, instance_id: int, address: IPAddress) -> None:
        """A host is here no longer: its next frame is news."""
        if instance_id in self._known:
            self._known[instance_id].pop(address, None)
            self._changed.add(instance_id)

    def miss(self, instance_id: int, address: IPAddress) -> None:
        """A host of the own subnet is away: its next frame here is news."""
        if instance_id in self._missing:
            self._missing[instance_id][address] = None
            self._changed.add(instance_id)

    def miss_no_more(self, instance_id: int, address: IPAddress) -> None:
        """It is at home again."""
        if instance_id in self._missing:
            self._missing[instance_id].pop(address, None)
            self._changed.add(instance_id)

    def settle(self) -> None:
        """Bring the filters up to date: once for all the hosts that came and went in the meantime."""
        if not self._changed:
            return
        for opened, (_, instance_id) in self._sockets.items():
            if instance_id in self._changed:
                self._attach(opened, instance_id)
        self._changed.clear()

    def _attach(self, opened: socket.socket, instance_id: int) -> None:
        prefixes, missing = self._prefixes[instance_id], [*self._missing[instance_id]]
        try:
            attach(opened, program(prefixes, [*self._known[instance_id]], missing))
        except OSError:  # too long for this kernel: then it lets through more than it needs to
            with suppress(OSError):
                attach(opened, program(prefixes, [], missing))

    def close(self) -> None:
        """Close the sockets."""
        for opened in self._sockets:
            opened.close()

    def _read(self, opened: socket.socket, interface: int, instance_id: int) -> None:
        for _ in range(_BATCH):
            try:
                frame = opened.recv(_BEGINNING)
            except OSError:  # nothing is left, or the interface is down
                return
            source = _source(frame)
            if source is None:
                continue
            eid = host_prefix(source, instance_id)
            if is_stranger(eid, self._tables):
                self._strangers.note(Stranger(eid, interface), self._clock())


def _open(index: int) -> socket.socket:
    kind = socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    opened = socket.socket(socket.AF_PACKET, kind, 0)  # bound to a protocol only once a filter is there
    attach(opened, [_NOTHING])
    opened.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    opened.bind((socket.if_indextoname(index), _ETH_P_ALL))
    return opened


def _source(frame: bytes) -> IPAddress | None:
    version = {_ETH_IPV4: 4, _ETH_IPV6: 6}.get(int.from_bytes(frame[12:14], "big"))
    if version is None:
        return None
    start = _SOURCE[version]
    packed = frame[start : start + 4 * _WORDS[version]]
    return _address(packed) if len(packed) == 4 * _WORDS[version] else None


def program(
    prefixes: Iterable[IPNetwork], known: Sequence[IPAddress], missing: Sequence[IPAddress] = ()
) -> list[Instruction]:
    """The filter that lets through the beginnings of IP frames from strangers.

    Neighbour discovery is left out: the daemon overhears that itself, as it does ARP.

    Args:
        prefixes: Where the sources are.
        known: Those that are no strangers, the ones that were found last behind the others.
        missing: Strangers outside the prefixes, in the same order.
    """
    networks = list(prefixes)
    parts = {
        version: _of_family(
            version,
            [one for one in networks if one.version == version],
            [one for one in known if one.version == version],
            [one for one in missing if one.version == version],
        )
        for version in (4, 6)
    }
    return [
        (LOAD_HALF, 0, 0, 12),  # the Ethernet type
        (JUMP_EQUAL, 0, 1, _ETH_IPV4),
        (JUMP, 0, 0, 2 + len(parts[6])),
        (JUMP_EQUAL, 1, 0, _ETH_IPV6),
        _NOTHING,
        *parts[6],
        *parts[4],
    ]


def _of_family(
    version: int, prefixes: list[IPNetwork], known: list[IPAddress], missing: list[IPAddress]
) -> list[Instruction]:
    inside = [_is_inside(prefix) for prefix in prefixes]
    neighbours = [
        (LOAD_BYTE, 0, 0, _ETHERNET + 6),  # the next header
        (JUMP_EQUAL, 0, 4, ICMPV6),
        (LOAD_BYTE, 0, 0, _ETHERNET + 40),  # the ICMPv6 type
        (JUMP_EQUAL, 1, 0, NEIGHBOUR_SOLICITATION),
        (JUMP_EQUAL, 0, 1, NEIGHBOUR_ADVERTISEMENT),
        _NOTHING,
    ]
    made = neighbours if version == 6 else []
    outside = [*_if_one_of(version, missing, _BEGIN), _NOTHING]
    # Each test of a prefix is followed by a jump behind what is done if all fail, and by the next one if it fails.
    left = sum(len(one) + 1 for one in inside)
    for one in inside:
        left -= len(one) + 1
        made += [*one, (JUMP, 0, 0, left + len(outside))]
    return [*made, *outside, *_if_one_of(version, known, _NOTHING), _BEGIN]


def _is_inside(prefix: IPNetwork) -> list[Instruction]:
    """Goes on to the next instruction behind these if a source is inside, and skips that one if not."""
    start = _SOURCE[prefix.version]
    tests: list[tuple[Instruction, ...]] = []
    bits = prefix.prefixlen
    for place in range(_WORDS[prefix.version]):
        mask = (0xFFFFFFFF << max(0, 32 * (place + 1) - bits)) & 0xFFFFFFFF
        if 32 * place < bits:
            word = int.from_bytes(prefix.network_address.packed[4 * place : 4 * place + 4], "big")
            tests.append(((LOAD_WORD, 0, 0, start + 4 * place), (AND, 0, 0, mask), (JUMP_EQUAL, 0, 0, word)))
    made: list[Instruction] = []
    for number, (load, mask_it, (jump, _, _, word)) in enumerate(tests):
        made += [load, mask_it, (jump, 0, 3 * (len(tests) - 1 - number) + 1, word)]
    return made


def _if_one_of(version: int, hosts: list[IPAddress], then: Instruction) -> list[Instruction]:
    """Ends with an instruction if a source is one of these hosts, of the last ones if they are many."""
    made: list[Instruction] = [(LOAD_WORD, 0, 0, _SOURCE[version])]
    for place in range(1, _WORDS[version]):
        made += [(MULTIPLY, 0, 0, _FACTOR), (TO_X, 0, 0, 0), (LOAD_WORD, 0, 0, _SOURCE[version] + 4 * place)]
        made.append((XOR_X, 0, 0, 0))
    newest = iter(hosts[-MOST_NAMED:])
    while some := list(islice(newest, LONGEST_JUMP - 1)):
        made += [(JUMP_EQUAL, len(some) - number, 0, _mixed(one)) for number, one in enumerate(some)]
        made += [(JUMP, 0, 0, 1), then]
    return made


def _mixed(address: IPAddress) -> int:
    """An address in 32 bits, as the filter reckons it. One that looks like a known host's is found by ARP or ND."""
    packed, mixed = address.packed, 0
    for place in range(0, len(packed), 4):
        mixed = mixed * _FACTOR & 0xFFFFFFFF ^ int.from_bytes(packed[place : place + 4], "big")
    return mixed


def _address(packed: bytes) -> IPAddress:
    return IPv4Address(packed) if len(packed) == 4 else IPv6Address(packed)
