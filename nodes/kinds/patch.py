"""A patch cable: it leads a cable that ends in one fabric to another fabric."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any

from nodes.linux import links
from nodes.linux.links import VethEnd
from nodes.linux.netlink import Connection, NetlinkError

_RUNNING_SECONDS, _LOOK_SECONDS = 1.0, 0.0005


class Patch:
    """The way from a bridge beside a fabric to a port of another fabric, which is down until somebody is plugged in.

    To move the cable's own end into another network namespace would cut it off for 5 to 30 ms, which is what the kernel
    needs for that; to make it a port of another bridge takes half a millisecond. And its queueing disciplines and
    programs, which are what the link does to packets, stay.

    Attributes:
        bridge: Index of the bridge, in the namespace of the first fabric.
    """

    def __init__(self, number: int, name: str, mtu: int, here: Any, there: Any) -> None:
        """Lay it.

        Args:
            number: Tells it from the other patch cables of ``here``.
            name: The name of the port at the far end: that of the machine that will be plugged in.
            mtu: Of both its ends, in bytes.
            here: The fabric where the machine's own cable ends.
            there: The other fabric.

        Raises:
            NetlinkError: The kernel refused; nothing is left of it.
        """
        self._here, self._there = here, there
        self._name = name
        self._names = f"patch{number}", f"patch{number}-end"
        try:
            self.bridge = links.add_bridge(here.kernel, self._names[0], mtu=mtu)
            near, far = VethEnd(self._names[1], here.namespace, mtu=mtu), VethEnd(name, there.namespace, mtu=mtu)
            links.add_veth(here.kernel, near, far)
            links.set_master(here.kernel, links.index_of(here.kernel, near.name), self.bridge)
            self._port = links.index_of(there.kernel, name)
            self.set_up(False)
            links.set_master(there.kernel, self._port, there.bridge)
        except NetlinkError:
            self.remove()
            raise

    def set_up(self, up: bool = True) -> None:
        """Set the port at the far end up or down; with the latter its fabric forgets who was behind it.

        Up, it lets frames through when this returns: the kernel tells bridges of a carrier by and by, and drops what
        comes before.

        Raises:
            TimeoutError: It does not.
        """
        links.set_up(self._there.kernel, self._port, up)
        deadline = time.monotonic() + _RUNNING_SECONDS
        while up and not all(links.get(*end).running for end in self._ends()):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self._names[1]} lets nothing through within {_RUNNING_SECONDS:g} s")
            time.sleep(_LOOK_SECONDS)  # soon over; events of two namespaces would have to be subscribed to before

    def _ends(self) -> tuple[tuple[Connection, str], tuple[Connection, str]]:
        """Both ends, each with the connection to the kernel of its namespace."""
        return (self._here.kernel, self._names[1]), (self._there.kernel, self._name)

    def remove(self) -> None:
        """Take away what there is of it; this takes the kernel a while."""
        for name in self._names[::-1]:
            with suppress(NetlinkError):
                links.delete(self._here.kernel, links.index_of(self._here.kernel, name))
