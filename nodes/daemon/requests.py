"""What can be asked of a daemon on its control socket: tables, lookups by hand, a change of ingress policy, its end."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodes.daemon import fields
from nodes.daemon.control import Client, Request
from nodes.daemon.dynamic_eids import DynamicEids
from nodes.daemon.jobs import Jobs
from nodes.daemon.path_tables import contact_rows, locators_with_uses, verification, with_uses
from nodes.daemon.plumbing import interface_rows
from nodes.daemon.static_mappings import StaticMappings
from nodes.daemon.waiters import Waiters
from nodes.dataplane.path import DataPath
from nodes.linux import netlink
from nodes.lisp.config import NodeConfig
from nodes.lisp.effects import Effect
from nodes.lisp.engine import Engine
from nodes.lisp.inputs import ChangeKey, ChangeLocator, Input, Query

ENGINE_TABLES = ("map-cache", "locators", "database", "dynamic-eids", "registrations", "subscriptions", "roles")
TABLES = (*ENGINE_TABLES, "statistics", "interfaces", "contacts")
_OPERATIONS = ("show", "verify", "lig", "set-locator", "change-key", "add-mappings", "remove-mappings", "stop")
_LIG_SECONDS = _CHANGE_SECONDS = 5.0
_KEY_IDS = 255


class Requests:
    """Handles one request after the other; an answer that takes the engine some time comes by the waiters."""

    def __init__(
        self,
        config: NodeConfig,
        engine: Engine,
        path: DataPath | None,
        dynamic: DynamicEids | None,
        waiters: Waiters,
        jobs: Jobs,
        *,
        step: Callable[[Input], None],
        carry_out: Callable[[Iterable[Effect]], None],
        stop: Callable[[], None],
        now: Callable[[], float],
    ) -> None:
        """Take charge of requests.

        Args:
            config: The node's configuration.
            engine: What most tables come from.
            path: The data path, where there is one.
            dynamic: The dynamic-EIDs, where there are any.
            waiters: Who waits for an answer.
            jobs: Does what takes long.
            step: Gives the engine an input and carries its effects out.
            carry_out: Carries the engine's effects out.
            stop: Ends the daemon.
            now: The engine's clock.
        """
        self._config, self._engine, self._path, self._dynamic = config, engine, path, dynamic
        self._waiters, self._step, self._stop, self._now = waiters, step, stop, now
        self._jobs, self._static = jobs, StaticMappings(config, engine, carry_out, now)

    def handle(self, request: Request, client: Client) -> None:
        """Handle one request; a mistake in it is answered by one line."""
        try:
            match request.get("op"):
                case "show":
                    client.succeed(self._show(fields.text(request, "what", "")))
                case "verify":
                    client.succeed(verification(self._path))
                case "lig":
                    self._lig(request, client)
                case "add-mappings":
                    self._jobs.add(self._static.add(request), client)
                case "remove-mappings":
                    self._jobs.add(self._static.remove(request), client)
                case "set-locator":
                    self._set_locator(request, client)
                case "change-key":
                    key_id = fields.whole_number(request, "key_id", -1, _KEY_IDS)
                    self._step(ChangeKey(key_id, self._waiters.add(client, _CHANGE_SECONDS)))
                case "stop":
                    client.succeed(None)
                    self._stop()
                case other:
                    client.fail(f"op {other!r} is unknown; known are {', '.join(_OPERATIONS)}")
        except ValueError as error:
            client.fail(str(error))

    def _show(self, what: str) -> Any:
        if what in ENGINE_TABLES:
            shown = self._engine.show(what, self._now())
            if what == "dynamic-eids" and self._dynamic is not None and isinstance(shown, list):
                return self._dynamic.with_overheard(shown)
            if what == "locators" and isinstance(shown, list):
                # By the engine's clock, which may run faster than the network's.
                scale = self._config.time_scale
                shown = [{**row, "rtt_ms": row["rtt_ms"] and round(row["rtt_ms"] / scale, 3)} for row in shown]
                return locators_with_uses(self._path, shown)
            if what == "map-cache" and self._path is not None and isinstance(shown, list):
                return with_uses(self._path, shown)
            return shown
        if what == "contacts":
            return contact_rows(self._path, self._now(), self._config.time_scale)
        if what == "statistics":
            return self._statistics()
        if what == "interfaces":
            with netlink.Connection() as kernel:
                return interface_rows(kernel, self._config)
        raise ValueError(f"{what!r} cannot be shown; {', '.join(TABLES)} can")

    def _statistics(self) -> dict[str, Any]:
        said = self._dynamic.counters if self._dynamic is not None else {}
        control = {"control": dict(sorted({**self._engine.counters, **said}.items()))}
        if self._path is None:
            return {**control, "data": {}, "drops": {}}
        shown = self._path.statistics()
        return {"dataplane": shown.pop("dataplane"), **control, **shown}

    def _lig(self, request: Request, client: Client) -> None:
        """Ask for a mapping by hand (RFC 6835)."""
        eid = fields.eid_prefix(request)
        token = self._waiters.add(client, fields.seconds(request, "timeout", _LIG_SECONDS))
        self._step(Query(eid, token))

    def _set_locator(self, request: Request, client: Client) -> None:
        """Change what others are told of one of the site's RLOCs (requirement S11)."""
        prefix, rloc = fields.eid_prefix(request), fields.address(request, "rloc")
        priority, weight = (fields.optional_number(request, name, 255) for name in ("priority", "weight"))
        peers = self._path.peers(prefix) if self._path is not None else ()
        token = self._waiters.add(client, _CHANGE_SECONDS)
        self._step(ChangeLocator(prefix, rloc, priority, weight, peers, token))
