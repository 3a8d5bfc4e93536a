"""What a router overhears of ARP and neighbour discovery, and what it answers."""

from __future__ import annotations

import random
import socket
import struct
from contextlib import suppress
from ipaddress import ip_address

import pytest

from nodes.daemon import neighbour_socket
from nodes.daemon.neighbour_socket import DEAF_FILTER, DEAFNESS, FILTER, MOST_MISLED
from nodes.dataplane.neighbours import PING, Arrived, Astray, Heard, announce, answer, mislead, overhear, ping, question
from nodes.dataplane.packet import ICMPV6
from nodes.linux.socket_filter import attach
from nodes.lisp.checksum import checksum
from nodes.lisp.eid import IPAddress

HOST, ROUTER = bytes.fromhex("020000000011"), bytes.fromhex("0200000000fe")
EVERYBODY, ALL_NODES = b"\xff" * 6, bytes.fromhex("333300000001")
NOBODY = ip_address("0.0.0.0"), ip_address("::")
PC1, PC2 = ip_address("11.11.11.11"), ip_address("11.11.11.12")
SIX1, SIX2 = ip_address("2001:db8::11"), ip_address("2001:db8::12")


def arp(operation: int, sender: IPAddress, asked: IPAddress, mac: bytes = HOST) -> bytes:
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + mac + sender.packed + bytes(6) + asked.packed
    return b"\xff" * 6 + mac + b"\x08\x06" + body + bytes(18)


def nd(kind: int, source: IPAddress, target: IPAddress, hop_limit: int = 255) -> bytes:
    message = struct.pack("!BBHI", kind, 0, 0, 0) + target.packed
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, hop_limit) + source.packed + target.packed
    return b"\x33\x33\xff\0\0\x12" + HOST + b"\x86\xdd" + header + message


def rarp(operation: int, sender: bytes, target: bytes) -> bytes:
    """As a hypervisor announces its guest (RFC 903)."""
    body = struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation) + sender + bytes(4) + target + bytes(4)
    return EVERYBODY + sender + b"\x80\x35" + body + bytes(18)


def echo_reply(source: IPAddress, word: int) -> bytes:
    message = struct.pack("!BBHI", 129, 0, 0, word)
    header = struct.pack("!IHBB", 6 << 28, len(message), ICMPV6, 64) + source.packed + SIX2.packed
    return ROUTER + HOST + b"\x86\xdd" + header + message


@pytest.mark.parametrize(
    ("frame", "heard"),
    [
        (arp(1, PC1, PC2), Heard(PC1, HOST, PC2)),
        (arp(1, PC1, PC1), Heard(PC1, HOST, announced=True)),  # gratuitous: an announcement
        (arp(2, PC1, PC1), Heard(PC1, HOST, announced=True)),  # the same as a reply
        (ROUTER + arp(1, PC1, PC1)[6:], Heard(PC1, HOST)),  # one that the neighbours did not hear
        (arp(2, PC1, PC2), Heard(PC1, HOST)),
        (arp(1, NOBODY[0], PC1), None),  # a probe
        (arp(1, PC1, PC1, EVERYBODY), None),  # packets for it would go to everybody
        (arp(2, PC1, PC2, bytes(6)), None),
        (nd(136, SIX1, SIX1) + b"\2\1" + ALL_NODES, None),
        (nd(135, SIX1, SIX2), Heard(SIX1, HOST, SIX2)),
        (nd(135, NOBODY[1], SIX1), None),  # duplicate address detection
        (nd(136, SIX1, SIX1), Heard(SIX1, HOST)),
        (ALL_NODES + nd(136, SIX1, SIX1)[6:], Heard(SIX1, HOST, announced=True)),
        (echo_reply(SIX1, PING), Heard(SIX1, HOST)),  # what it answers to the router's question
        (echo_reply(SIX1, PING + 1), None),
        (rarp(3, HOST, HOST), Arrived(HOST)),
        (rarp(4, HOST, HOST), None),  # an answer
        (rarp(3, HOST, ROUTER), None),  # about another machine
        (rarp(3, EVERYBODY, EVERYBODY), None),
        (rarp(3, bytes(6), bytes(6)), None),
        (nd(135, SIX1, SIX2, hop_limit=254), None),  # forwarded by a router
        (nd(133, SIX1, SIX2), None),
        (b"\xff" * 6 + HOST + b"\x08\0" + bytes(40), None),
        (arp(1, PC1, PC2)[:30], None),
        (b"", None),
    ],
)
def test_what_a_frame_says(frame: bytes, heard: Heard | None) -> None:
    """X01: hosts show themselves; probes and duplicate address detection show nobody."""
    assert overhear(frame) == heard


def test_an_arp_answer_names_the_routers_mac() -> None:
    """S06: who has .12? The router's MAC address, unicast to who asks."""
    heard = overhear(arp(1, PC1, PC2))
    assert heard is not None
    frame = answer(heard, PC2, ROUTER)
    assert frame[:14] == HOST + ROUTER + b"\x08\x06"
    assert overhear(frame) == Heard(PC2, ROUTER)
    assert frame[32:42] == HOST + PC1.packed


def test_a_neighbour_advertisement_names_the_routers_mac() -> None:
    """S06 over IPv6: solicited, without override, from this link, with a right checksum."""
    heard = overhear(nd(135, SIX1, SIX2))
    assert heard is not None
    frame = answer(heard, SIX2, ROUTER)
    assert overhear(frame) == Heard(SIX2, ROUTER)
    header, message = frame[14:54], frame[54:]
    assert header[7] == 255
    assert message[4] == 0x40
    assert message[-8:] == b"\x02\x01" + ROUTER
    assert checksum(header[8:40] + struct.pack("!II", len(message), ICMPV6) + message) == 0


@pytest.mark.parametrize(("own", "asked", "to"), [(PC1, PC2, b"\xff" * 6), (SIX1, SIX2, b"\x33\x33\xff\0\0\x12")])
def test_a_question_is_for_everybody_who_may_have_the_address(own: IPAddress, asked: IPAddress, to: bytes) -> None:
    """X01: by ARP, and by neighbour discovery with the MAC address that the answer is to go to."""
    frame = question(asked, own, ROUTER)
    assert frame[:12] == to + ROUTER
    assert overhear(frame) == Heard(own, ROUTER, asked)
    if own.version == 6:
        header, message = frame[14:54], frame[54:]
        assert (header[7], header[24:40]) == (255, ip_address("ff02::1:ff00:12").packed)
        assert message[-8:] == b"\x01\x01" + ROUTER
        assert checksum(header[8:40] + struct.pack("!II", len(message), ICMPV6) + message) == 0


def test_neighbours_are_told_a_new_mac_address_in_arp() -> None:
    """As the host would: a request for its own address, to all; but switches go on knowing where the host is."""
    frame = announce(PC1, HOST, ROUTER, PC2)
    assert frame[:14] == EVERYBODY + ROUTER + b"\x08\x06"
    assert overhear(frame) == Heard(PC1, HOST, announced=True)
    assert frame[14:22] == arp(1, PC1, PC1)[14:22]


def test_neighbours_are_told_a_new_mac_address_in_neighbour_discovery() -> None:
    """RFC 4861 section 7.2.6: unsolicited, to all nodes, with Override, so that what they knew before goes."""
    frame = announce(SIX1, HOST, ROUTER, SIX2)
    assert frame[:14] == ALL_NODES + ROUTER + b"\x86\xdd"
    assert overhear(frame) == Heard(SIX1, HOST, announced=True)
    header, message = frame[14:54], frame[54:]
    assert (ip_address(header[8:24]), ip_address(header[24:40])) == (SIX2, ip_address("ff02::1"))
    assert message[4:8] == b"\x20\0\0\0"
    assert message[-8:] == b"\x02\x01" + HOST
    assert is_right(header, message)


@pytest.mark.parametrize(("address", "source"), [(PC1, PC2), (SIX1, SIX2)])
def test_one_machine_is_asked_for_an_address(address: IPAddress, source: IPAddress) -> None:
    """Nobody else hears it; who hears it knows where to answer."""
    frame = question(address, source, ROUTER, HOST)
    assert frame[:12] == HOST + ROUTER
    assert overhear(frame) == Heard(source, ROUTER, address)
    if address.version == 6:
        assert frame[-8:] == b"\x01\x01" + ROUTER
        assert is_right(frame[14:54], frame[54:])


def test_one_machine_is_pinged() -> None:
    """To all nodes, so that whatever its address is it answers; but in a frame for it alone."""
    frame = ping(HOST, ROUTER, SIX2)
    header, message = frame[14:54], frame[54:]
    assert frame[:14] == HOST + ROUTER + b"\x86\xdd"
    assert (ip_address(header[8:24]), ip_address(header[24:40])) == (SIX2, ip_address("ff02::1"))
    assert message[0] == 128
    assert is_right(header, message)
    assert message[4:] == echo_reply(SIX1, PING)[58:62]


def test_a_frame_for_a_machine_that_is_not_here_is_astray() -> None:
    """X11: of a packet it is told who believes whom to be here; a question is answered to whoever believes that."""
    packet = ROUTER + HOST + b"\x08\0\x45" + bytes(11) + PC1.packed + PC2.packed + bytes(20)
    assert mislead(overhear(packet), packet) == Astray(Heard(PC1, HOST, PC2, misled=True))
    six = bytearray(nd(135, SIX1, SIX2))
    six[20] = 6  # TCP
    six[38:54] = SIX2.packed
    assert mislead(overhear(six), bytes(six)) == Astray(Heard(SIX1, HOST, SIX2, misled=True))
    question_of_it = arp(1, PC1, PC2)
    assert mislead(overhear(question_of_it), question_of_it) == Heard(PC1, HOST, PC2, misled=True)
    assert mislead(None, packet[:20]) is None
    assert mislead(None, b"\xff" * 100) is None


@pytest.mark.parametrize(("sender", "asked"), [(PC1, PC2), (SIX1, SIX2)])
def test_who_is_misled_is_told_so_that_it_believes_it(sender: IPAddress, asked: IPAddress) -> None:
    """X11: as an announcement, to it alone: an answer does not always replace what a host knew."""
    frame = answer(Heard(sender, HOST, asked, misled=True), asked, ROUTER)
    assert frame[:12] == HOST + ROUTER
    assert overhear(frame) == Heard(asked, ROUTER)
    if asked.version == 4:
        assert frame[20:22] == b"\0\1"
        assert frame[28:32] == frame[38:42] == asked.packed
    else:
        assert frame[58:62] == b"\x20\0\0\0"
        assert is_right(frame[14:54], frame[54:])


def test_a_socket_that_is_deaf_for_frames_of_others_hears_all_else() -> None:
    """It is what it goes by while a switch floods; and a program that the kernel takes."""
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with sender, receiver:
        attach(receiver, DEAF_FILTER)
        for frame in (nd(136, SIX1, SIX1), nd(133, SIX1, SIX2), arp(1, PC1, PC2), echo_reply(SIX1, 1)):
            sender.send(frame)
        assert [receiver.recv(2048) for _ in range(2)] == [nd(136, SIX1, SIX1), arp(1, PC1, PC2)]
        with pytest.raises(BlockingIOError):
            receiver.recv(2048)


class Wire(socket.socket):
    """A packet socket without an interface: what it receives was sent to another machine."""

    frames: list[bytes]

    def __init__(self, *_: object) -> None:
        super().__init__(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.frames, self.filters = [], list[int]()

    def bind(self, _address: object) -> None:
        pass

    def setsockopt(self, level: int, option: int, value: object) -> None:
        if (level, option) == (socket.SOL_SOCKET, 26):  # SO_ATTACH_FILTER
            assert isinstance(value, bytes)
            self.filters.append(struct.unpack_from("H", value)[0])

    def getsockname(self) -> tuple[str, int, int, int, bytes]:
        return "sw1", 0, 0, 1, ROUTER

    def recvfrom(self, *_: object) -> tuple[bytes, tuple[str, int, int, int, bytes]]:
        if not self.frames:
            raise BlockingIOError
        return self.frames.pop(0), ("sw1", 0x0800, 3, 1, HOST)  # PACKET_OTHERHOST


def test_a_switch_that_floods_does_not_keep_the_daemon_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    """X11: so many frames for others are looked at in a second; then none for a second."""
    monkeypatch.setattr(neighbour_socket.socket, "socket", Wire)
    monkeypatch.setattr(neighbour_socket.socket, "if_nametoindex", lambda _: 7)
    port = neighbour_socket.NeighbourSocket("sw1")
    wire = port._socket
    assert isinstance(wire, Wire)
    packet = EVERYBODY[:5] + b"\xfe" + HOST + b"\x08\0\x45" + bytes(11) + PC1.packed + PC2.packed + bytes(20)
    wire.frames = [packet] * MOST_MISLED
    while wire.frames:
        assert set(port.read(0.0)) == {Astray(Heard(PC1, HOST, PC2, misled=True))}
    assert (port.deadline(), len(wire.filters)) == (None, 1)
    wire.frames = [packet]
    assert len(list(port.read(0.0))) == 1
    assert wire.filters == [len(FILTER), len(DEAF_FILTER)]
    assert port.deadline() == DEAFNESS
    port.listen(DEAFNESS / 2)
    assert len(wire.filters) == 2
    port.listen(DEAFNESS)
    assert (port.deadline(), wire.filters[2:]) == (None, [len(FILTER)])
    port.close()


def is_right(header: bytes, message: bytes) -> bool:
    """Whether an ICMPv6 message has a right checksum and comes from this link."""
    whole = header[8:40] + struct.pack("!II", len(message), ICMPV6) + message
    return header[7] == 255 and struct.unpack("!H", header[4:6])[0] == len(message) and checksum(whole) == 0


def test_the_socket_receives_what_tells_of_neighbours_and_nothing_else() -> None:
    """The kernel drops all other frames before the daemon is woken for them."""
    wanted = [arp(1, PC1, PC2), rarp(3, HOST, HOST), nd(135, SIX1, SIX2), nd(136, SIX1, SIX1), echo_reply(SIX1, PING)]
    tcp = bytearray(nd(135, SIX1, SIX2))
    tcp[20] = 6
    others = [
        b"\xff" * 6 + HOST + b"\x08\0" + bytes(40),
        echo_reply(SIX1, 1),
        nd(133, SIX1, SIX2),
        bytes(tcp),
        b"short",
    ]
    sender, receiver = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    with sender, receiver:
        attach(receiver, FILTER)
        for frame in (*others, *wanted, *others):
            with suppress(PermissionError):  # what the filter of a socket pair refuses
                sender.send(frame)
        assert [receiver.recv(2048) for _ in wanted] == wanted
        with pytest.raises(BlockingIOError):
            receiver.recv(2048)


def test_any_frame_is_survived() -> None:
    chance = random.Random(826)
    for frame in (arp(1, PC1, PC2), nd(135, SIX1, SIX2), rarp(3, HOST, HOST), echo_reply(SIX1, PING)):
        for _ in range(2000):
            bent = bytearray(frame[: chance.randrange(len(frame) + 1)])
            for _ in range(3):
                if bent:
                    bent[chance.randrange(len(bent))] = chance.randrange(256)
            overhear(bytes(bent))
