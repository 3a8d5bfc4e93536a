"""The routing daemons of a lab: BIRD on the core routers, at the edges of non-LISP sites and on PITRs.

Each runs in its node's namespace and in its node's directory: ``bird.conf``, ``bird.log``, and ``bird.ctl``, which
``birdc`` finds inside the node as /run/bird/bird.ctl. One is ready when its kernel has a route to every prefix that it
should; the kernel itself says so, by its notifications of routes.
"""

from __future__ import annotations

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import ClassVar

from nodes.linux import namespaces, routes
from nodes.linux.netlink import Connection, Monitor
from nodes.lisp.eid import IPNetwork
from testbed.bird import HOLD_SECONDS
from testbed.model import Topology
from testbed.order import RunFiles
from testbed.server.events import Events
from testbed.server.supervision import READY_SECONDS, Daemon, ServerError, State, Supervisor

_PLACE = Path("/run/bird")  # where birdc looks; inside a node it is the node's directory
# In the foreground (-f), and as after a graceful restart (-R; testbed.bird says why).
_COMMAND = ("bird", "-f", "-R", "-c", "bird.conf", "-s", "bird.ctl", "-P", "bird.pid")
_SHOWN = 3  # missing prefixes that a message names


class RoutingDaemons(Supervisor):
    """BIRD on every node that is to run it."""

    KIND: ClassVar = "bird"
    WORDS: ClassVar = "BIRD"

    def __init__(self, files: RunFiles, topology: Topology, namespaces: dict[str, int], events: Events) -> None:
        """Start nothing yet.

        Args:
            files: The run directory; configurations and log files are there.
            topology: The world; it says which routes each is to bring.
            namespaces: Descriptors of the network namespaces, by node.
            events: Where to tell what happens.
        """
        super().__init__(events)
        self._files = files
        self._topology = topology
        self._namespaces = namespaces
        self._watches: dict[str, RouteWatch] = {}

    async def start(self, name: str) -> None:
        """Start a node's BIRD; :meth:`reach` waits until its kernel has the routes."""
        _PLACE.mkdir(exist_ok=True)
        daemon = self.daemons[name] = Daemon()
        namespace = self._namespaces[name]
        self._stop_watching(name)
        _forget_routes(namespace)
        routing = self._topology[name].routing
        watch = self._watches[name] = RouteWatch(namespace, frozenset(routing.learned if routing else ()))
        self._loop.add_reader(watch.fileno(), self._routes, name, daemon)
        with self._files.bird_log(name).open("ab") as log, namespaces.inside(namespace):
            try:
                process = subprocess.Popen(
                    _COMMAND,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._files.node(name),
                )
            except OSError as error:
                daemon.state = State.EXITED
                raise ServerError(f"{name}: bird cannot be run: {error.strerror}") from error
        daemon.pid = process.pid
        pidfd = os.pidfd_open(process.pid)
        self._loop.add_reader(pidfd, self._ended, name, daemon, process, pidfd)
        self._routes(name, daemon)

    async def restart(self, name: str) -> None:
        """As any daemon's restart, and wait until no kernel misses a route that it had before.

        A BIRD that learns nothing itself is ready as soon as it runs, perhaps before the others noticed that the old
        one ended. What it alone announces has to go from their kernels first: then its coming back proves something.

        Raises:
            ServerError: It does not end or come back, or the routes do not; the text names some.
        """
        # What is missing because this daemon had died is to come back; what a link that is down has taken is not.
        died = self._gone(self.daemons[name])
        before = {} if died else {one: watch.missing for one, watch in self._watches.items()}
        await super().restart(name)

        def lacking() -> list[str]:
            if any(self._gone(daemon) for daemon in self.daemons.values()):
                return []  # another one has died
            return [one for one, watch in self._watches.items() if watch.missing - before.get(one, frozenset())]

        def late() -> str:
            words = ", ".join(f"{one} ({self._progress(one)})" for one in lacking())
            return f"the routes are not back within {READY_SECONDS:.0f} s: {words}"

        await self._until(lambda: not lacking(), READY_SECONDS, late)

    async def _replace(self, name: str) -> None:
        """Wait until no other kernel has a route to what this node's BIRD alone announces; then start the next one.

        After the time that a neighbour believes in a dead session for, what is still there will not go.
        """
        routing = self._topology[name].routing
        others = (one.routing for one in self._topology.nodes.values() if one.name != name and one.routing)
        elsewhere = {prefix for one in others for prefix in one.announced}
        gone = frozenset(routing.announced if routing else ()) - elsewhere

        def left() -> list[str]:
            return [one for one, watch in self._watches.items() if (watch.expected & gone) - watch.missing]

        with suppress(ServerError):
            await self._until(lambda: not left(), HOLD_SECONDS, lambda: f"routes stay at {', '.join(left())}")
        await super()._replace(name)

    def _log(self, name: str) -> Path:
        return self._files.bird_log(name)

    def _progress(self, name: str) -> str:
        missing = sorted(map(str, self._watches[name].missing)) if name in self._watches else []
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        return f"no route yet to {', '.join(missing[:_SHOWN])}{more}" if missing else super()._progress(name)

    def _routes(self, name: str, daemon: Daemon) -> None:
        """The kernel's routes have changed."""
        if not self._watches[name].look() and daemon.state is State.STARTING:
            self._advanced(name, daemon, State.READY)
        self._changed.set()

    def _stop_watching(self, name: str) -> None:
        watch = self._watches.pop(name, None)
        if watch is not None:
            self._loop.remove_reader(watch.fileno())
            watch.close()

    def _ended(self, name: str, daemon: Daemon, process: subprocess.Popen[bytes], pidfd: int) -> None:
        self._loop.remove_reader(pidfd)
        os.close(pidfd)
        if self.daemons[name] is daemon:
            self._stop_watching(name)
        self._buried(name, daemon, process.wait())


class RouteWatch:
    """Waits for routes to appear in the main table of a network namespace.

    Attributes:
        expected: The prefixes that there are to be routes to.
        missing: Those of them that it has no route to yet.
    """

    def __init__(self, namespace: int, expected: frozenset[IPNetwork]) -> None:
        """Listen to the kernel from now on."""
        self.missing = expected
        self.expected = expected
        self._versions = sorted({one.version for one in expected})
        self._kernel = Connection(namespace)
        with namespaces.inside(namespace):
            self._monitor = Monitor(routes.RTNLGRP_IPV4_ROUTE, routes.RTNLGRP_IPV6_ROUTE)

    def fileno(self) -> int:
        """The descriptor to wait on; then :meth:`look`."""
        return self._monitor.fileno()

    def look(self) -> frozenset[IPNetwork]:
        """Read the table anew; returns what is missing."""
        try:
            self._monitor.drain()
        except OSError:  # notifications were lost, but the table is read after them
            self._monitor.drain()
        there = {one.prefix for version in self._versions for one in routes.list_routes(self._kernel, version)}
        self.missing = self.expected - there
        return self.missing

    def close(self) -> None:
        """Stop listening."""
        self._monitor.close()
        self._kernel.close()


def _forget_routes(namespace: int) -> None:
    """Delete what a BIRD that was killed has left: only routes of the one that is started count as its."""
    with Connection(namespace) as kernel:
        for version in (4, 6):
            for route in routes.list_routes(kernel, version):
                if route.protocol == routes.RTPROT_BIRD:
                    routes.delete_route(kernel, route)
