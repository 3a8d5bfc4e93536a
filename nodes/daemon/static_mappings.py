"""Mappings put into the map-cache by hand and taken out again: requests ``add-mappings`` and ``remove-mappings``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from nodes.daemon import fields
from nodes.daemon.control import Request
from nodes.daemon.jobs import Job
from nodes.lisp.config import NodeConfig, Role
from nodes.lisp.effects import Effect, Install
from nodes.lisp.eid import EidPrefix
from nodes.lisp.engine import Engine
from nodes.lisp.inputs import AddMappings, RemoveMappings

_AT_ONCE = 32
"""Mappings between two looks at the clock."""

T = TypeVar("T")


class StaticMappings:
    """Does these requests in slices. A mistake anywhere in one is found before any of it is done."""

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        carry_out: Callable[[Iterable[Effect]], None],
        now: Callable[[], float],
    ) -> None:
        """Take charge of them.

        Args:
            config: The node's configuration.
            engine: Has the map-cache.
            carry_out: Carries the engine's effects out.
            now: The engine's clock.
        """
        self._config, self._engine, self._carry_out, self._now = config, engine, carry_out, now

    def add(self, request: Request) -> Job:
        """Put in the mappings of the field ``mappings``, or of a file, one a line.

        Returns:
            How many, and how many seconds the data path took for them.
        """
        self._check()
        mappings = []
        for number, row in enumerate(_rows(request)):
            mappings.append(_named(row, fields.mapping))
            if not number % _AT_ONCE:
                yield
        seconds, added = 0.0, 0
        for some in _batches(mappings):
            effects = self._engine.step(AddMappings(tuple(some)), self._now())
            begun = time.perf_counter()
            self._carry_out(effects)
            seconds += time.perf_counter() - begun
            wanted = {prefix for prefix, _ in some}
            added += sum(isinstance(one, Install) and one.entry.prefix in wanted for one in effects)
            yield
        if added < len(mappings):
            raise ValueError(f"the map-cache is full: {added} of {len(mappings)} mappings were added")
        return {"mappings": added, "install_s": seconds}

    def remove(self, request: Request) -> Job:
        """Take out mappings that were put in by hand: named as in :meth:`add`, their locators do not matter.

        Returns:
            How many.
        """
        self._check()
        prefixes: dict[EidPrefix, None] = {}
        for number, row in enumerate(_rows(request)):
            prefix = _named(row, fields.mapped_prefix)
            if not self._engine.has_static_mapping(prefix):
                raise ValueError(f"{row[0]}{prefix} is in the map-cache by no add-mappings")
            prefixes[prefix] = None
            if not number % _AT_ONCE:
                yield
        for some in _batches(prefixes):
            self._carry_out(self._engine.step(RemoveMappings(tuple(some)), self._now()))
            yield
        return {"mappings": len(prefixes)}

    def _check(self) -> None:
        if not self._config.roles & {Role.ITR, Role.PITR, Role.RTR}:
            raise ValueError(f"{self._config.name} is no ITR, PITR or RTR and has no map-cache")


def _rows(request: Request) -> Iterator[tuple[str, object]]:
    """The mappings of a request, each behind the words that say where in a file it stands.

    Raises:
        ValueError: There are none, or the file cannot be read.
    """
    if "file" not in request:
        listed = request.get("mappings")
        if not isinstance(listed, list):
            raise ValueError("mappings is missing; allowed is a list of mappings, or file, which has one a line")
        yield from (("", row) for row in listed)
        return
    path = Path(fields.text(request, "file"))
    try:
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                where = f"{path}:{number}: "
                try:
                    yield where, json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise ValueError(f"{where}{error}") from None
    except OSError as error:
        raise ValueError(f"file {path} cannot be read: {error.strerror}") from None


def _named(row: tuple[str, object], read: Callable[[object], T]) -> T:
    """Read a mapping; a mistake in it says where it stands."""
    where, value = row
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{where}{error}") from None


def _batches(some: Iterable[T]) -> Iterator[list[T]]:
    left = iter(some)
    while batch := list(islice(left, _AT_ONCE)):
        yield batch
