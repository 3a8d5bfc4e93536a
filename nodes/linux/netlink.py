"""Netlink: one socket, requests with acknowledgements, dumps and notifications (kernel documentation "netlink").

A socket belongs to the network namespace it was opened in and keeps working on that namespace wherever its owner goes::

    with Connection(netns_fd) as kernel:
        links.add_bridge(kernel, "fabric1")
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType

from nodes.linux.namespaces import inside

NLM_F_REQUEST, NLM_F_ACK, NLM_F_DUMP = 0x001, 0x004, 0x300
NLM_F_REPLACE, NLM_F_EXCL, NLM_F_CREATE = 0x100, 0x200, 0x400
_NLM_F_CAPPED, _NLM_F_ACK_TLVS = 0x100, 0x200
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, _NETLINK_CAP_ACK, _NETLINK_EXT_ACK, _NETLINK_GET_STRICT_CHK = 270, 1, 10, 11, 12
_NLMSGERR_ATTR_MSG = 1
_ATTRIBUTE_TYPE = 0x3FFF  # without the "nested" and "network byte order" flags
_HEADER = struct.Struct("=IHHII")
_ATTRIBUTE = struct.Struct("=HH")
_MAX_DATAGRAM = 1 << 18


class NetlinkError(OSError):
    """The kernel refused a request.

    Attributes:
        request: What was asked, in words ("add address 192.0.2.1/24 to core1").
    """

    def __init__(self, error: int, request: str, detail: str = "") -> None:
        super().__init__(error, f"{request}: {os.strerror(error)}{f' ({detail})' if detail else ''}")
        self.request = request

    def __str__(self) -> str:
        return str(self.strerror)


@contextmanager
def tolerating(*numbers: int) -> Iterator[None]:
    """Take it as done when the kernel refuses a request with one of these error numbers (``errno.ESRCH``)."""
    try:
        yield
    except NetlinkError as error:
        if error.errno not in numbers:
            raise


def attribute(kind: int, value: bytes) -> bytes:
    """One attribute: type, length, value, padded to four bytes."""
    return _ATTRIBUTE.pack(4 + len(value), kind) + value + bytes(-len(value) % 4)


def text_attribute(kind: int, value: str) -> bytes:
    """An attribute that holds a name."""
    return attribute(kind, value.encode() + b"\0")


def number_attribute(kind: int, value: int) -> bytes:
    """An attribute that holds an unsigned 32-bit number."""
    return attribute(kind, struct.pack("=I", value))


def parse_attributes(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """The attributes from ``offset`` on, by type; of several of one type the last."""
    found = {}
    while offset + 4 <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if length < 4:
            break
        found[kind & _ATTRIBUTE_TYPE] = data[offset + 4 : offset + length]
        offset += (length + 3) & ~3
    return found


def number(attributes: Mapping[int, bytes], kind: int, default: int = 0) -> int:
    """The unsigned number in an attribute of up to eight bytes, or ``default`` where there is none."""
    value = attributes.get(kind)
    return default if value is None else int.from_bytes(value, "little" if _LITTLE_ENDIAN else "big")


_LITTLE_ENDIAN = struct.pack("=H", 1) == b"\x01\x00"


def messages(datagram: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """The netlink messages of a datagram, as (type, flags, sequence number, payload)."""
    offset = 0
    while offset + 16 <= len(datagram):
        length, kind, flags, sequence, _ = _HEADER.unpack_from(datagram, offset)
        if length < 16:
            break
        yield kind, flags, sequence, datagram[offset + 16 : offset + length]
        offset += (length + 3) & ~3


class Connection:
    """A NETLINK_ROUTE socket for requests. Each method blocks until the kernel has answered (microseconds).

    Attributes:
        namespace: The network namespace it was opened in, as given; None is the caller's.
    """

    def __init__(self, namespace: int | None = None) -> None:
        """Open it inside the network namespace of a file descriptor, or in the caller's."""
        self.namespace = namespace
        if namespace is None:
            self._socket = self._open()
        else:
            with inside(namespace):
                self._socket = self._open()
        self._sequence = 0

    @staticmethod
    def _open() -> socket.socket:
        opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_EXT_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_CAP_ACK, 1)
        opened.setsockopt(_SOL_NETLINK, _NETLINK_GET_STRICT_CHK, 1)
        opened.bind((0, 0))
        return opened

    def request(self, kind: int, body: bytes, flags: int, what: str) -> bytes:
        """Send one request and wait for its acknowledgement.

        Args:
            kind: The message type (RTM_NEWLINK, ...).
            body: The family header and the attributes.
            flags: NLM_F_CREATE and the like; REQUEST and ACK are added.
            what: The request in words, for the error.

        Returns:
            The payload of the kernel's answer, empty when it only acknowledged.

        Raises:
            NetlinkError: The kernel refused.
        """
        self._send(kind, body, flags | NLM_F_ACK)
        answers = [payload for _, payload in self._answers(what)]
        return answers[-1] if answers else b""

    def dump(self, kind: int, body: bytes, what: str) -> Iterator[tuple[int, bytes]]:
        """Ask for a whole table and return its messages, as (type, payload)."""
        self._send(kind, body, NLM_F_DUMP)
        return iter(list(self._answers(what)))

    def _answers(self, what: str) -> Iterator[tuple[int, bytes]]:
        """What the kernel answers the last message, as (type, payload), to its acknowledgement or the table's end."""
        while True:
            for kind, flags, sequence, payload in messages(self._socket.recv(_MAX_DATAGRAM)):
                if sequence != self._sequence:
                    continue
                if kind == _NLMSG_ERROR:
                    self._check(payload, flags, what)
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    return
                yield kind, payload

    def _send(self, kind: int, body: bytes, flags: int) -> None:
        self._sequence += 1
        self._socket.send(_HEADER.pack(16 + len(body), kind, flags | NLM_F_REQUEST, self._sequence, 0) + body)

    @staticmethod
    def _check(payload: bytes, flags: int, what: str) -> None:
        code = -struct.unpack_from("=i", payload)[0]
        if not code:
            return
        detail = b""
        if flags & _NLM_F_ACK_TLVS and flags & _NLM_F_CAPPED:
            detail = parse_attributes(payload, 20).get(_NLMSGERR_ATTR_MSG, b"").rstrip(b"\0")
        raise NetlinkError(code, what, detail.decode(errors="replace"))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Monitor:
    """A socket that receives what changes in the caller's network namespace. Non-blocking; select on it."""

    def __init__(self, *groups: int) -> None:
        """Join the multicast groups (RTNLGRP_...)."""
        flags = socket.SOCK_RAW | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        self._socket = socket.socket(socket.AF_NETLINK, flags, socket.NETLINK_ROUTE)
        self._socket.bind((0, 0))
        for group in groups:
            self._socket.setsockopt(_SOL_NETLINK, _NETLINK_ADD_MEMBERSHIP, group)

    def fileno(self) -> int:
        """The descriptor, for select."""
        return self._socket.fileno()

    def drain(self) -> list[tuple[int, bytes]]:
        """Everything that has arrived, as (type, payload).

        Raises:
            OSError: ENOBUFS: notifications were lost; read the tables again.
        """
        arrived: list[tuple[int, bytes]] = []
        while True:
            try:
                datagram = self._socket.recv(_MAX_DATAGRAM)
            except BlockingIOError:
                return arrived
            arrived.extend((kind, payload) for kind, _, _, payload in messages(datagram))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()
