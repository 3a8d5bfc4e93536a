"""How a host that was moved says where it is, without forgetting whom it knows.

Like a virtual machine after its migration. The kernel's own announcement needs the MAC address set anew
(``Host.announce``), and that empties the neighbour cache.
"""

from __future__ import annotations

import errno
import socket
import time
from typing import Any

from nodes.dataplane.neighbours import announce
from nodes.linux.namespaces import inside
from nodes.lisp.eid import IPAddress

_PATIENCE, _PAUSE = 100, 0.002


class Announcement:
    """What a host will say on one of its links, made ahead: opening a socket is no part of a move."""

    def __init__(self, host: Any, interface: Any) -> None:
        """Prepare it.

        Raises:
            OSError: There is no such interface, or the caller may not.
        """
        mac = bytes.fromhex(interface.mac.replace(":", ""))
        self._frames = [announcement(address.ip, mac) for address in interface.addresses]
        with inside(host.namespace):
            self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)  # it hears nothing
            self._socket.bind((interface.name, 0))

    def send(self) -> None:
        """Say it once.

        Where hundreds say something at once, each word goes to all of them: the kernel's queue for what a switch has to
        hand out can be full, and is empty again after milliseconds.

        Raises:
            OSError: The interface is down, or the queue stays full.
        """
        for frame in self._frames:
            for _ in range(_PATIENCE):
                try:
                    self._socket.send(frame)
                    break
                except OSError as error:
                    if error.errno != errno.ENOBUFS:
                        raise
                time.sleep(_PAUSE)  # the kernel tells nobody that its queue has room again
            else:
                self._socket.send(frame)

    def close(self) -> None:
        """Close the socket, which takes the kernel up to 20 ms."""
        self._socket.close()


def announcement(address: IPAddress, mac: bytes) -> bytes:
    """The frame by which a host tells everybody its own MAC address."""
    return announce(address, mac, mac, address)
