"""TUN devices: an interface whose packets a process reads and writes (kernel documentation "tuntap")."""

from __future__ import annotations

import fcntl
import os
import struct

_TUNSETIFF = 0x400454CA
_IFF_TUN, _IFF_NO_PI = 0x0001, 0x1000


def open_tun(name: str) -> int:
    """Make a TUN device in the caller's network namespace and return its descriptor, non-blocking.

    Each read gives one IP packet that was routed into it, each write hands one to the stack as if it came in by it. The
    device is down, without an address, and goes when the descriptor is closed.

    Raises:
        OSError: It cannot be made; the text names it.
    """
    try:
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise OSError(error.errno, f"open /dev/net/tun for {name}: {error.strerror}") from error
    try:
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TUN | _IFF_NO_PI))
    except OSError as error:
        os.close(descriptor)
        raise OSError(error.errno, f"make TUN device {name}: {error.strerror}") from error
    return descriptor
