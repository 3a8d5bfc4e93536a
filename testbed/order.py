"""What a client hands to the lab process that it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from testbed.drivers.plan import Plan
from testbed.model import Topology


@dataclass(frozen=True, slots=True)
class Order:
    """Which world to build, and where its files go.

    Attributes:
        lab: The lab's name.
        topology: The world.
        run_dir: The run directory, made by the client.
        owner: User and group ID of those who read its files, or None for root.
        began: When the client began, in monotonic seconds.
        foreign: What runs on the nodes that do not run our daemon.
    """

    lab: str
    topology: Topology
    run_dir: Path
    owner: tuple[int, int] | None
    began: float
    foreign: Mapping[str, Plan] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Where things are in a run directory."""

    root: Path

    @property
    def lock(self) -> Path:
        """Locked (flock) by the lab process as long as the lab runs."""
        return self.root / "lock"

    @property
    def control(self) -> Path:
        """The lab process's control socket, for root only."""
        return self.root / "control.sock"

    @property
    def aside(self) -> Path:
        """There if commands are to find the lab by its name alone: it is a judge's, not somebody's who types."""
        return self.root / "aside"

    @property
    def topology(self) -> Path:
        """The resolved topology, a valid topology file."""
        return self.root / "topology.yaml"

    @property
    def log(self) -> Path:
        """What happened in the lab: JSON lines."""
        return self.root / "lab.jsonl"

    @property
    def errors(self) -> Path:
        """What the lab's processes wrote to standard error; empty when all is well."""
        return self.root / "lab.stderr"

    def node(self, name: str) -> Path:
        """The directory of a node that runs a daemon."""
        return self.root / "nodes" / name

    def node_config(self, name: str) -> Path:
        """What its daemon is told, keys included: for root only."""
        return self.node(name) / "config.json"

    def node_log(self, name: str) -> Path:
        """What its daemon did: JSON lines."""
        return self.node(name) / "log.jsonl"

    def router(self, name: str) -> Path:
        """What runs there if it is not our daemon: its name and its driver."""
        return self.node(name) / "router.json"

    def router_log(self, name: str) -> Path:
        """What a router that is not ours wrote to standard output and standard error."""
        return self.node(name) / "router.log"

    def node_control(self, name: str) -> Path:
        """Its daemon's control socket, for root only."""
        return self.node(name) / "control.sock"

    def bird_config(self, name: str) -> Path:
        """What its routing daemon is told."""
        return self.node(name) / "bird.conf"

    def bird_log(self, name: str) -> Path:
        """What its routing daemon did, in BIRD's words."""
        return self.node(name) / "bird.log"
