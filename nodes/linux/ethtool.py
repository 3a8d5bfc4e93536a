"""Offload features of an interface, by the ethtool ioctl: what ``ethtool -K`` does."""

from __future__ import annotations

import array
import fcntl
import os
import socket
import struct
from collections.abc import Mapping

from nodes.linux.namespaces import inside

_SIOCETHTOOL = 0x8946
_GSTRINGS, _GSSET_INFO, _GFEATURES, _SFEATURES = 0x1B, 0x37, 0x3A, 0x3B
_SS_FEATURES, _NAME_LENGTH = 4, 32
_FEATURES_BLOCK = struct.Struct("=IIII")  # available, requested, active, never changed
_names: list[str] = []

UDP_SEGMENTATION = "tx-udp-segmentation"
"""A UDP super-packet (socket option UDP_SEGMENT) is cut behind this interface; off: before it gets there."""

OFFLOADS = (
    "tx-checksum-ip-generic",
    "tx-checksum-sctp",
    "tx-scatter-gather",
    "tx-tcp-segmentation",
    UDP_SEGMENTATION,
    "tx-generic-segmentation",
    "rx-gro",
)
"""What to switch off where captures judge checksums and sizes."""


def _call(sock: socket.socket, interface: str, command: bytes) -> bytes:
    buffer = array.array("B", command)
    address, _ = buffer.buffer_info()
    fcntl.ioctl(sock, _SIOCETHTOOL, struct.pack("16sP16x", interface.encode(), address))
    return buffer.tobytes()


def _feature_names(sock: socket.socket, interface: str) -> list[str]:
    # The kernel's list is the same for every interface.
    if not _names:
        info = _call(sock, interface, struct.pack("=IIQI", _GSSET_INFO, 0, 1 << _SS_FEATURES, 0))
        count = struct.unpack_from("=I", info, 16)[0]
        request = struct.pack("=III", _GSTRINGS, _SS_FEATURES, count) + bytes(count * _NAME_LENGTH)
        text = _call(sock, interface, request)[12:]
        _names.extend(text[at : at + _NAME_LENGTH].split(b"\0")[0].decode() for at in range(0, len(text), _NAME_LENGTH))
    return _names


def set_features(interface: str, features: Mapping[str, bool], namespace: int | None = None) -> None:
    """Switch features on or off, by the names of ``ethtool -k`` as the kernel spells them ("tx-udp-segmentation").

    Args:
        interface: The interface.
        features: What to set. A name that this kernel does not know raises an error.
        namespace: Descriptor of its network namespace; None is the caller's.

    Raises:
        OSError: The interface or a feature is not there; the text names it.
    """
    with _socket(namespace) as sock:
        try:
            names = _feature_names(sock, interface)
            blocks = [[0, 0] for _ in range(_blocks(names))]
            for name, wanted in features.items():
                if name not in names:
                    raise OSError(95, f"feature {name}: {os.strerror(95)}")
                bit = names.index(name)
                blocks[bit // 32][0] |= 1 << bit % 32
                blocks[bit // 32][1] |= int(wanted) << bit % 32
            body = b"".join(struct.pack("=II", *block) for block in blocks)
            _call(sock, interface, struct.pack("=II", _SFEATURES, len(blocks)) + body)
        except OSError as error:
            raise OSError(error.errno, f"set offloads of {interface}: {error.strerror}") from error


def get_features(interface: str, namespace: int | None = None) -> dict[str, bool]:
    """Which features are in effect, by the kernel's names: what ``ethtool -k`` prints.

    Args:
        interface: The interface.
        namespace: Descriptor of its network namespace; None is the caller's.

    Raises:
        OSError: The interface is not there; the text names it.
    """
    with _socket(namespace) as sock:
        try:
            names = _feature_names(sock, interface)
            request = struct.pack("=II", _GFEATURES, _blocks(names)) + bytes(_blocks(names) * _FEATURES_BLOCK.size)
            answer = _call(sock, interface, request)[8:]
        except OSError as error:
            raise OSError(error.errno, f"get offloads of {interface}: {error.strerror}") from error
    active = [block[2] for block in _FEATURES_BLOCK.iter_unpack(answer)]
    return {name: bool(active[bit // 32] >> bit % 32 & 1) for bit, name in enumerate(names) if name}


def _socket(namespace: int | None) -> socket.socket:
    """A socket for ioctls in a network namespace."""
    if namespace is None:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with inside(namespace):
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def _blocks(names: list[str]) -> int:
    """How many 32-bit words hold a bit for each feature."""
    return (len(names) + 31) // 32


def offloads_off(interface: str, namespace: int | None = None) -> None:
    """Switch off every offload that would show wrong checksums or sizes in a capture."""
    set_features(interface, dict.fromkeys(OFFLOADS, False), namespace)
