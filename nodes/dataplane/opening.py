"""Opens the data path of a router: with the kernel's programs where they can run and are wanted, else without."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from nodes.dataplane.decision import SourceOf, Tables
from nodes.dataplane.devices import Devices
from nodes.dataplane.gates import Gate
from nodes.dataplane.kernel import cells
from nodes.dataplane.kernel.events import Events
from nodes.dataplane.kernel.loading import Attachment, FastPathError, Loading, ring_buffer
from nodes.dataplane.kernel_path import KernelPath, Report
from nodes.dataplane.path import DataPath, Running
from nodes.dataplane.python_path import PythonPath
from nodes.linux import libbpf
from nodes.linux.netlink import Connection
from nodes.lisp.config import DataPlane, NodeConfig

_ASKED_FOR = {DataPlane.AUTO: "auto", DataPlane.EBPF: "dataplane: ebpf", DataPlane.PYTHON: "dataplane: python"}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a router's data path stands in.

    Attributes:
        kernel: A connection into the router's namespace.
        tuns: The TUN devices' descriptors by instance-ID.
        transits: Those of an RTR's transit devices.
        queue: How many packets wait in a TUN device at most.
        devices: The router's interfaces.
        source_of: Looks up the route to an RLOC.
        clock: The engine's clock.
        versions: The IP versions of the RLOCs and of the hosts.
        report: Writes an event and its fields into the log.
    """

    kernel: Connection
    tuns: Mapping[int, int]
    transits: Mapping[int, int]
    queue: int
    devices: Devices
    source_of: SourceOf
    clock: Callable[[], float]
    versions: frozenset[int]
    report: Report


class OpenedPath:
    """A data path with what has to be closed behind it.

    Attributes:
        path: The data path.
    """

    def __init__(
        self, path: DataPath, attachment: Attachment, kernel: KernelPath | None, loaded: libbpf.Object | None
    ) -> None:
        """Keep all of it."""
        self.path, self._attachment, self._kernel, self._loaded = path, attachment, kernel, loaded

    def close(self) -> None:
        """Take the programs away, then close the data path."""
        with contextlib.suppress(OSError):  # an interface is gone, and its programs with it
            if self._kernel is not None:
                self._kernel.stop()
            self._attachment.detach()
        self.path.close()
        if self._loaded is not None:
            self._loaded.close()


def open_data_path(config: NodeConfig, tables: Tables, loading: Loading | None, around: Surroundings) -> OpenedPath:
    """Open the data path that a node is to have.

    Args:
        config: What the node is told.
        tables: The tables to decide by.
        loading: The programs that are being loaded; None when Python alone is wanted.
        around: What it stands in.

    Raises:
        FastPathError: The node is to have eBPF, and cannot.
        OSError: The Python path's sockets cannot be opened.
    """
    attachment, scale = Attachment(around.kernel, around.devices), config.time_scale
    if loading is None:
        return _python_alone(tables, attachment, around, Running("python", _ASKED_FOR[config.dataplane]), scale)
    try:
        loaded = loading.result()
        try:
            return _with_programs(config, tables, attachment, loaded, around)
        except OSError as error:
            with contextlib.suppress(OSError):
                attachment.detach()
            loaded.close()
            raise FastPathError(str(error)) from error
    except FastPathError as error:
        if config.dataplane is DataPlane.EBPF:
            raise
        return _python_alone(tables, attachment, around, Running("python", str(error)), scale)


def _python_alone(
    tables: Tables, attachment: Attachment, around: Surroundings, running: Running, scale: float
) -> OpenedPath:
    with contextlib.suppress(OSError):  # what an earlier run left forwards nothing any more; it only costs time
        attachment.detach()
    sites = around.devices.sites
    python = PythonPath(tables, around.tuns, around.source_of, around.clock, around.versions, sites=sites)
    return OpenedPath(DataPath(python, None, None, running, around.clock, scale), attachment, None, None)


def _gates(memory: memoryview, tuns: Mapping[int, int], first: int, queue: int) -> dict[int, Gate]:
    places = cells.places(tuns, first)
    return {one: Gate(cells.MappedCells(memory, places[one]), tun, queue) for one, tun in tuns.items()}


def _with_programs(
    config: NodeConfig, tables: Tables, attachment: Attachment, loaded: libbpf.Object, around: Surroundings
) -> OpenedPath:
    memory = loaded.maps["gates"].memory()
    gates = _gates(memory, around.tuns, 0, around.queue)
    transits = {
        one: (around.transits[one], gate)
        for one, gate in _gates(memory, around.transits, len(gates), around.queue).items()
    }
    events = ring_buffer(loaded)
    python = PythonPath(tables, around.tuns, around.source_of, around.clock, around.versions, gates, transits)
    try:
        kernel = KernelPath(
            loaded.maps,
            loaded.maps["statistics"],
            loaded.maps["flows"],
            tables,
            around.devices,
            python.source_of,
            report=around.report,
            clock=around.clock,
        )
        kernel.start()
        attachment.attach(loaded)
    except OSError:
        python.close()
        events.close()
        raise
    running = Running("ebpf", _ASKED_FOR[config.dataplane])
    told = Events(events, tables, python.strangers, python.absences, python.heard)
    path = DataPath(python, kernel, told, running, around.clock, config.time_scale)
    return OpenedPath(path, attachment, kernel, loaded)
