"""One TCP stream between two nodes, by two threads that send and read as much as they can.

Both stay on one CPU, and so do the routers between them. On two, acknowledgements come in on the reader's CPU and send
the next segments from there, beside those that the sender's CPU sends: they overtake each other, plain routing shows
hundreds of needless retransmissions, and the figures of equal runs differ threefold.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress

from ci.benches.dataplane.cpus import pinned
from nodes.lisp.eid import IPAddress
from testbed.lab import Lab, LabError

WARM_UP, WINDOW = 0.5, 2.0
"""Seconds: until the stream has its speed, and of what is counted."""

_CHUNK = 128 << 10  # iperf3's
_CONNECT_SECONDS = 5.0


def stream(lab: Lab, source: str, destination: str, address: IPAddress, cpu: int) -> float:
    """How much one TCP stream carries from one node to an address of another.

    Args:
        lab: The lab.
        source: The node that sends.
        destination: The node that reads.
        address: Its address.
        cpu: Where both ends run.

    Returns:
        Payload that was read, in Gbit/s.

    Raises:
        LabError: There is no connection.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with (
        lab.socket(destination, family, socket.SOCK_STREAM) as listening,
        lab.socket(source, family, socket.SOCK_STREAM) as here,
    ):
        listening.bind((str(address), 0))
        listening.listen(1)
        here.settimeout(_CONNECT_SECONDS)
        try:
            here.connect(listening.getsockname()[:2])
        except OSError as error:
            raise LabError(f"no TCP from {source} to {destination} ({address}) in {lab.name}: {error}") from None
        here.settimeout(None)
        there, _ = listening.accept()
        with there:
            sending = threading.Thread(target=_send, args=(here, cpu))
            sending.start()
            try:
                return _read(there, cpu) * 8 / 1e9
            finally:
                for end in (there, here):  # which wakes the thread; the second may be gone with the first
                    with suppress(OSError):
                        end.shutdown(socket.SHUT_RDWR)
                sending.join()


def _send(sock: socket.socket, cpu: int) -> None:
    chunk = bytes(_CHUNK)
    with pinned(cpu), suppress(OSError):  # it is ended by shutting the socket down
        while True:
            sock.sendall(chunk)


def _read(sock: socket.socket, cpu: int) -> float:
    """Bytes a second in the window."""
    with pinned(cpu):
        buffer = bytearray(_CHUNK)
        began = time.monotonic()
        while time.monotonic() - began < WARM_UP:
            sock.recv_into(buffer)
        began, read = time.monotonic(), 0
        while (took := time.monotonic() - began) < WINDOW:
            read += sock.recv_into(buffer)
        return read / took
