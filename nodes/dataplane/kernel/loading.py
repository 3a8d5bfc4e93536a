"""The programs of one router: loaded, attached to its interfaces, and taken away again."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

from nodes.dataplane.devices import Devices
from nodes.linux import classifier, libbpf, tcx
from nodes.linux.bpf_maps import RingBuffer
from nodes.linux.classifier import Hook
from nodes.linux.netlink import Connection

PRIORITY = 10
"""Behind what loses packets on purpose (1) and what marks them (2)."""

_LOG = "verifier.log"


class FastPathError(Exception):
    """The fast path cannot run here; the text says why, on one line."""


class Loading:
    """Loads the programs while the caller sets up other things: most of the time the kernel is at work on them."""

    def __init__(self, path: str, log_directory: Path) -> None:
        """Begin.

        Args:
            path: The compiled programs, or "" when there are none.
            log_directory: Where the verifier's words are kept if it refuses them.
        """
        self._path, self._log = path, log_directory / _LOG
        self._object: libbpf.Object | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._load, name="load programs")
        self._thread.start()

    def result(self) -> libbpf.Object:
        """The loaded programs and their maps.

        Raises:
            FastPathError: They cannot be loaded.
        """
        self._thread.join()
        if self._object is None:
            raise FastPathError(str(self._error))
        return self._object

    def _load(self) -> None:
        try:
            if not self._path:
                raise FastPathError("the tc programs are not compiled: ci/lab doctor says why")
            self._object = libbpf.Object(Path(self._path))
        except libbpf.LoadError as error:
            where = ""
            if error.log:
                with contextlib.suppress(OSError):
                    self._log.write_text(error.log)
                    where = f"; the verifier's log is {self._log}"
            self._error = FastPathError(f"{error}{where}")
        except Exception as error:  # carried to who asks for the result
            self._error = error


class Attachment:
    """The programs at the interfaces of a router."""

    def __init__(self, kernel: Connection, devices: Devices) -> None:
        """Nothing is attached yet; ``kernel`` is a connection into the router's namespace, which is the caller's."""
        self._kernel, self._devices = kernel, devices

    def attach(self, loaded: libbpf.Object) -> None:
        """Attach them, each in the place of one that an earlier run left.

        Raises:
            OSError: The kernel refused.
        """
        for index, hook, name in self._places():
            descriptor = loaded.programs[name].descriptor
            # By tcx it costs less, but would be asked before what loses packets on purpose.
            loses = classifier.list_programs(self._kernel, index, hook)
            if loses or not tcx.attach(index, descriptor, name, hook):
                classifier.attach(self._kernel, index, descriptor, name, hook, PRIORITY)

    def detach(self) -> None:
        """Take them away, also those of an earlier run. Raises OSError."""
        for index, hook, name in self._places():
            tcx.detach(index, name, hook)
            classifier.detach(self._kernel, index, hook, PRIORITY)

    def _places(self) -> Iterator[tuple[int, Hook, str]]:
        devices = self._devices
        # The TUN devices first: their programs count what a site port leaves to the daemon.
        for index in devices.tuns.values():
            yield index, Hook.EGRESS, "lisp_tun"
        for index in devices.transits.values():
            yield index, Hook.EGRESS, "lisp_transit"
        for index in devices.core:
            yield index, Hook.INGRESS, "lisp_core"
        for index in devices.sites:
            yield index, Hook.INGRESS, "lisp_site"


def ring_buffer(loaded: libbpf.Object) -> RingBuffer:
    """The programs' events. Raises OSError."""
    return RingBuffer(loaded.maps["events"])
