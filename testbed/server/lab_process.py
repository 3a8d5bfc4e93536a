"""The lab process: boots the world it is ordered to, then answers clients until it is told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from typing import Any

from nodes.kinds.impairment import LinkError
from nodes.linux import links, namespaces, unix_socket
from nodes.linux.netlink import Connection
from nodes.lisp.config import DataPlane, Role
from testbed.model import Node, Side
from testbed.order import Order, RunFiles
from testbed.server.attachments import Attachments
from testbed.server.build import Network, build, plan_links
from testbed.server.control import Control, Reply, Request
from testbed.server.daemons import LispDaemons
from testbed.server.events import Events
from testbed.server.foreign import ForeignRouters
from testbed.server.fork_server import ForkServer
from testbed.server.link_watch import LinkWatch
from testbed.server.moves import Moves, movable
from testbed.server.relay import Relay
from testbed.server.routing import RoutingDaemons
from testbed.server.supervision import RequestError, ServerError, State, Supervisor
from testbed.words import echoed, one_of

_FIRST = {Role.MAP_SERVER, Role.MAP_RESOLVER}
"""Whoever answers the others has to listen first: a Map-Register nobody hears is repeated after a second."""

_LOOPBACK = 1


class LabProcess:
    """One lab. The box holds nothing else, so it ends when this does."""

    def __init__(self, order: Order, started: float) -> None:
        """Take an order; the process started at ``started`` (monotonic seconds)."""
        self.order = order
        self.files = RunFiles(order.run_dir)
        self.topology = order.topology
        self.state = "booting"
        self.events = Events(self.files.log)
        self.network: Network | None = None
        self.lisp: LispDaemons | None = None
        self.foreign: ForeignRouters | None = None
        self.relay: Relay | None = None
        self.link_watch: LinkWatch | None = None
        self.moves: Moves | None = None
        self.attachments: Attachments | None = None
        self.supervisors: tuple[Supervisor, ...] = ()
        self._init = os.pidfd_open(1)
        self._stopped = asyncio.Event()
        self._clock = order.began
        self._milliseconds: dict[str, int] = {}
        self._lap("box", started)
        self._lap("imports")

    async def run(self, boot: socket.socket, fork_server: ForkServer) -> None:
        """Boot, serve, return when told to stop.

        Args:
            boot: The client that ordered the lab listens to its events here.
            fork_server: It has been started already, because importing takes it as long as building takes us.
        """
        self.events.subscribe(boot)
        listening = unix_socket.listen(self.files.control)
        serving = asyncio.create_task(Control(listening, self._handlers(), self.events).serve())
        try:
            await self._boot(fork_server)
        except (ServerError, LinkError, OSError) as error:
            self.state = "failed"
            self.events.emit("boot-failed", error=str(error))
            return
        await self._stopped.wait()
        serving.cancel()
        self.events.emit("stopped")

    def _lap(self, phase: str, now: float | None = None) -> None:
        """Note how long a phase of the boot took."""
        before, self._clock = self._clock, time.monotonic() if now is None else now
        self._milliseconds[phase] = round((self._clock - before) * 1000)

    async def _boot(self, fork_server: ForkServer) -> None:
        socket.sethostname(self.order.lab)
        with Connection() as kernel:
            links.set_up(kernel, _LOOPBACK)
        plan = plan_links(self.topology)
        self.relay = Relay(plan.delay_lines, self.events) if plan.delay_lines else None
        self.network = build(self.topology, plan)
        if self.relay:
            await self.relay.serve()
        self._lap("network")
        self.events.emit(
            "network-up", nodes=len(self.topology.nodes), links=len(self.topology.links), impairments=plan.words
        )
        descriptors = {name: node.namespace for name, node in self.network.items()}
        self.lisp = lisp = LispDaemons(self.files, descriptors, self.events, fork_server)
        routing = RoutingDaemons(self.files, self.topology, descriptors, self.events)
        plans = self.order.foreign
        foreign = ForeignRouters(self.files, self.topology, plans, descriptors, self.events)
        self.foreign = foreign
        self.supervisors = (lisp, foreign, routing)
        routers = [node.name for node in self.topology.nodes.values() if node.routing]
        for name in routers:
            await routing.start(name)
        first = [node.name for node in self.topology.lisp_routers if node.lisp and node.lisp.roles & _FIRST]
        rest = [node.name for node in self.topology.lisp_routers if node.name not in first]
        await self._start(first, State.LISTENING)
        self._lap("first daemons")
        if routers:
            # What registers needs a way through the core, and a Map-Register that gets lost is repeated after a second.
            await routing.reach(routers, State.READY)
            self._lap("routing")
        await self._start(rest, State.READY)
        await lisp.reach([one for one in first if one not in plans], State.READY)
        self._towards_sockets()
        self.network.announce()  # now that the routers hear it: they find dynamic-EIDs by it
        self.link_watch = LinkWatch(self.network.values(), self.events)
        self.moves = Moves(self.topology, self.network, self.events)
        self.attachments = Attachments(self.topology, self.network, self.events)
        self._lap("all daemons")
        self.state = "ready"
        self.events.emit("ready", daemons=len(first) + len(rest) + len(routers), milliseconds=self._milliseconds)

    async def _start(self, names: list[str], state: State) -> None:
        """Start the LISP routers of some nodes and wait until ours have come that far, and the others are ready."""
        if self.lisp is None or self.foreign is None:
            return
        ours = [one for one in names if one not in self.order.foreign]
        others = [one for one in names if one in self.order.foreign]
        for name in ours:
            await self.lisp.start(name)
        for name in others:
            await self.foreign.start(name)
        await self.lisp.reach(ours, state)
        await self.foreign.reach(others, State.READY)

    def _towards_sockets(self) -> None:
        """Complete packets before they come to a router that takes LISP data by a socket.

        Raises:
            OSError: The kernel refused, or an offload is still on.
        """
        # A host leaves checksums and segmentation to its network card, and a veth pair hands packets on without. On the
        # fast path they stay like that inside the LISP header: the next eBPF router, or the host at the end, knows what
        # is missing. A socket is not told: what the daemon reads there and writes into its TUN device has a checksum
        # that nobody ever completes, or is longer than any MTU. So the last interface before such a router does the
        # work, as a network card would. Which routers these are is known now: `auto` may have fallen back.
        # Of a router that is not ours nobody knows.
        if self.network is None or self.lisp is None:
            return
        for node in self.topology.lisp_routers:
            if node.name not in self.order.foreign and self.lisp.planes.get(node.name) != DataPlane.PYTHON:
                continue
            for interface in node.interfaces:
                if interface.side is Side.CORE:
                    self.network[interface.peer].intf(interface.peer_interface).send_as_on_the_wire()

    def _handlers(self) -> dict[str, Any]:
        return {
            "status": self._status,
            "enter": self._enter,
            "socket": self._socket,
            "restart": self._restart,
            "move": self._move,
            "places": self._places,
            "stop": self._stop,
        }

    def _node(self, request: Request) -> Node:
        try:
            return self.topology.nodes[request["node"]]
        except KeyError:
            name = str(request.get("node"))
            nodes = one_of(self.topology.nodes, name, "nodes")
            raise RequestError(f"there is no node {echoed(name)}; {nodes}") from None

    def _namespace(self, node: Node) -> int:
        if self.network is None or node.name not in self.network:
            raise ServerError(f"{node.name} is not there yet; the lab is booting")
        descriptor: int = self.network[node.name].namespace
        return descriptor

    async def _status(self, _request: Request) -> Reply:
        """What the lab and each node is doing; a pidfd of the init comes with it."""
        data = {
            "lab": self.order.lab,
            "topology": self.topology.name,
            "state": self.state,
            "run_dir": str(self.order.run_dir),
            "nodes": [self._node_status(node) for node in self.topology.nodes.values()],
        }
        return Reply(data, (self._init,))

    def _node_status(self, node: Node) -> dict[str, Any]:
        places = self.moves.places | self.attachments.places if self.moves and self.attachments else {}
        row: dict[str, Any] = {
            "name": node.name,
            "kind": node.kind.value,
            "site": places.get(node.name, node.site),
        }
        if node.name in self.order.foreign:
            row["implementation"] = self.order.foreign[node.name].implementation
        if node.lisp is None and node.routing is None:
            built = self.network is not None and node.name in self.network
            return row | {"state": "up" if built else "booting", "pid": None, "exit_status": None, "daemons": []}
        runs = [(one.KIND, one.daemons[node.name]) for one in self.supervisors if node.name in one.daemons]
        daemons = [
            {"daemon": kind, "state": run.state.name.lower(), "pid": run.pid, "exit_status": run.exit_status}
            for kind, run in runs
        ]
        if len(daemons) < bool(node.lisp) + bool(node.routing):
            return row | {"state": "booting", "pid": None, "exit_status": None, "daemons": daemons}
        # The node is where its slowest daemon is.
        slowest = min(range(len(runs)), key=lambda index: runs[index][1].state)
        return row | {key: daemons[slowest][key] for key in ("state", "pid", "exit_status")} | {"daemons": daemons}

    async def _enter(self, request: Request) -> Reply:
        """What one needs to enter a node: its network namespace and a pidfd of the box's init; where its BIRD is."""
        node = self._node(request)
        bird = str(self.files.node(node.name)) if node.routing else None
        return Reply({"bird": bird}, (self._namespace(node), self._init))

    async def _socket(self, request: Request) -> Reply:
        """A socket made inside a node."""
        with namespaces.inside(self._namespace(self._node(request))):
            made = socket.socket(request["family"], request["type"], request["proto"])
        return Reply(None, (made.detach(),), close=True)

    async def _restart(self, request: Request) -> Reply:
        """Restart a node's daemons; the reply comes when they are ready again."""
        node = self._node(request)
        supervisors = [one for one in self.supervisors if node.name in one.daemons]
        if not (node.lisp or node.routing):
            names = [one.name for one in self.topology.nodes.values() if one.lisp or one.routing]
            raise RequestError(f"{node.name} runs no daemon; {one_of(names, node.name, 'nodes that run one')}")
        if self.state != "ready":
            raise ServerError(f"the lab is not ready yet; {node.name} cannot be restarted")
        for one in supervisors:
            await one.restart(node.name)
        self._towards_sockets()  # an `auto` daemon may have come back without eBPF
        return Reply()

    def _movable(self) -> tuple[Moves, Attachments]:
        if self.moves is None or self.attachments is None:
            raise ServerError("the lab is not ready yet; nothing can move")
        return self.moves, self.attachments

    async def _move(self, request: Request) -> Reply:
        """Move hosts to another site, mobile nodes to another access network."""
        nodes = [self._node(Request(node=name)).name for name in request["nodes"]]
        moves, attachments = self._movable()
        site, silent = str(request["site"]), bool(request["silent"])
        for one in nodes:  # before the first moves
            if one in attachments.ways:
                attachments.origin(one, site)
                if silent:
                    raise RequestError(f"{one} cannot move silently: a mobile node registers its new RLOCs")
            elif one in moves.ways:
                moves.origin(one, site)
            else:
                raise RequestError(f"{one} cannot move; {movable(moves.ways | attachments.ways)}")
        moved = [await attachments.move(one, site) for one in nodes if one in attachments.ways]
        return Reply(moved + moves.move([one for one in nodes if one in moves.ways], site, silent))

    async def _places(self, _request: Request) -> Reply:
        """Which site each host is in, and which access network each mobile node."""
        moves, attachments = self._movable()
        return Reply(moves.places | attachments.places)

    async def _stop(self, _request: Request) -> Reply:
        """End the lab; the client waits for the init to be gone."""
        stubborn = await self.foreign.stop() if self.foreign is not None else []
        self._stopped.set()
        return Reply(stubborn)
