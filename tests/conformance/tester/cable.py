"""Whole frames onto a link, mistakes included: what no kernel would send."""

from __future__ import annotations

import socket

from testbed.lab import Lab


class Cable:
    """The end of a link: whole frames go out as they are."""

    def __init__(self, lab: Lab, node: str, peer: str) -> None:
        self._near = lab[node].link_to(peer)
        self._far = lab[peer].link_to(node)
        self._socket = lab.socket(node, socket.AF_PACKET, socket.SOCK_RAW, 0)
        self._socket.bind((self._near.name, 0))

    def send(self, *sent: bytes) -> None:
        """Send IP packets to the other end."""
        addresses = bytes.fromhex((self._far.mac + self._near.mac).replace(":", ""))
        for packet in sent:
            ethertype = b"\x86\xdd" if packet[:1] >= b"\x60" else b"\x08\x00"
            self._socket.send(addresses + ethertype + packet)

    def __enter__(self) -> Cable:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
