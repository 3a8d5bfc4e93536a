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


class Stream:
    """One TCP stream, which flows only while it is measured."""

    def __init__(self, lab: Lab, source: str, destination: str, address: IPAddress, cpu: int) -> None:
        """Connect one node to an address of another.

        Args:
            lab: The lab.
            source: The node that sends.
            destination: The node that reads.
            address: Its address.
            cpu: Where both ends run.

        Raises:
            LabError: There is no connection.
        """
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        self._cpu = cpu
        with lab.socket(destination, family, socket.SOCK_STREAM) as listening:
            listening.bind((str(address), 0))
            listening.listen(1)
            self._here = lab.socket(source, family, socket.SOCK_STREAM)
            self._here.settimeout(_CONNECT_SECONDS)
            try:
                self._here.connect(listening.getsockname()[:2])
            except OSError as error:
                self._here.close()
                what = f"no TCP from {source} to {destination} ({address}) in {lab.name}"
                raise LabError(f"{what}: {error}") from None
            self._here.settimeout(None)
            self._there, _ = listening.accept()
        self._buffer = bytearray(_CHUNK)
        self._flows = threading.Event()
        self._sent = self._read = 0
        self._sender = threading.Thread(target=self._send)
        self._sender.start()

    def rate(self, warm_up: float = WARM_UP, window: float = WINDOW) -> float:
        """Payload that is read, in Gbit/s.

        Args:
            warm_up: Seconds until the stream has its speed.
            window: Seconds of what is counted.
        """
        with pinned(self._cpu):
            self._flows.set()
            self._read_for(warm_up)
            before = self._read
            took = self._read_for(window)
            read = self._read - before
            self._flows.clear()
            while self._read < self._sent:
                self._read += self._there.recv_into(self._buffer)
        return read * 8 / took / 1e9

    def close(self) -> None:
        """End it."""
        for end in (self._there, self._here):  # which wakes the thread; the second may be gone with the first
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._flows.set()
        self._sender.join()
        self._there.close()
        self._here.close()

    def _read_for(self, seconds: float) -> float:
        began = time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            self._read += self._there.recv_into(self._buffer)
        return took

    def _send(self) -> None:
        chunk = bytes(_CHUNK)
        with pinned(self._cpu), suppress(OSError):  # it is ended by shutting the socket down
            while self._flows.wait():
                self._sent += _CHUNK
                self._here.sendall(chunk)
