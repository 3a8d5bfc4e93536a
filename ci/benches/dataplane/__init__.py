"""What the LISP data planes carry, measured against plain kernel routing of the same packets in the same run.

Three worlds are up at once, made from one topology: LISP on eBPF, LISP in Python, and the same machines, links,
addresses, MTUs and offloads without LISP. In each round everything is measured in each world: throughput in the plain
world and in that of eBPF in turn, slice by slice, and then in that of Python; all else one right after the other, and
the order of the worlds goes round. How, is told by the modules: ``worlds``, ``slices``, ``tcp``, ``udp``, ``rtt``,
``cold``, ``cache``. First pings to cold EIDs are measured afterwards, with one world up at a time.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from ci.benches.dataplane import cache, cold, rtt, slices, tcp, udp, worlds
from ci.benches.dataplane.figures import MEASURES
from ci.benches.dataplane.worlds import EBPF, PATHS, PLAIN, PYTHON
from testbed.lab import Lab, LabError

ROUNDS, MOST_ROUNDS = 5, 25
FIRST_PINGS = 6
"""In each round; with five rounds more than twenty."""

KEYS = tuple(measure.key for measure in MEASURES)


def measure(rounds: int, only: Collection[str]) -> dict[str, Any]:
    """Run the rounds.

    Args:
        rounds: How many.
        only: The keys that are wanted; all, if there are none.

    Returns:
        The raw rounds, and what they were measured on.

    Raises:
        LabError: Something could not be measured.
    """
    wanted = {one.name for one in MEASURES if not only or one.key in only}
    bench = Bench(wanted, min(os.sched_getaffinity(0)))
    found: list[dict[str, Any]] = [{} for _ in range(rounds)]
    for part in (bench.speed, bench.first, bench.cold):
        for number, values in part(rounds):
            found[number].update(values)
            print(f"round {number + 1} of {rounds}: {_in_words(values)}", flush=True)
    return {
        "rounds": found,
        "units": {one.name: one.unit for one in MEASURES if one.name in wanted},
        "machine": _machine(),
    }


class Bench:
    """The measurements, each a generator of rounds: (number, values by measure and world)."""

    def __init__(self, wanted: Collection[str], cpu: int) -> None:
        self._wanted = wanted
        self._cpu = cpu
        self._trials: dict[str, dict[str, list[list[float]]]] = {}
        self._flows: dict[str, Callable[[Lab], tcp.Stream | udp.Flow]] = {
            "tcp": lambda lab: self._tcp(lab, "h1", "h2", 4),
            "udp64": lambda lab: self._udp(lab, 64),
            "udp1400": lambda lab: self._udp(lab, 1400),
            "pitr_tcp": lambda lab: self._tcp(lab, "client", "h1", 4),
            "petr_tcp": lambda lab: self._tcp(lab, "h1", "client", 4),
            "v6v4_tcp": lambda lab: self._tcp(lab, "h1", "h2", 6),
        }

    def speed(self, rounds: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Everything that is measured in the worlds without delays."""
        flows = {name: opened for name, opened in self._flows.items() if name in self._wanted}
        times = "rtt" in self._wanted
        caches = bool({"cache100k", "spread", "install"} & set(self._wanted))
        if not flows and not times and not caches:
            return
        with ExitStack() as stack:
            labs = {path: stack.enter_context(_up(path)) for path in (PLAIN, EBPF, PYTHON)}
            for path in PATHS:
                cache.prepare(labs[path])
            for number in range(rounds):
                order = _turned(list(labs), number)
                self._trials = {}
                values: dict[str, Any] = {"order": order, "load_average": list(os.getloadavg()), "slices": {}}
                for name, opened in flows.items():
                    values[name], values["slices"][name] = _throughput(labs, opened)
                if times:
                    to_h2 = str(labs[PLAIN]["h2"].address_of(4))
                    values["rtt"] = {path: rtt.flood(labs[path], "h1", to_h2, self._cpu) for path in order}
                if caches:
                    filled = {path: cache.measure(labs[path], number, self._cpu) for path in order if path != PLAIN}
                    values["install"] = {path: one.pop("install") for path, one in filled.items()}
                    values["cache100k"] = filled
                    values["spread"] = {
                        path: {"spread": one["cache100k_spread"], "ten_spread": one["ten_spread"]}
                        for path, one in filled.items()
                    }
                yield number, values | self._trials

    def first(self, rounds: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """First pings to cold EIDs, over a core without delay: a router is as idle as one is that nobody asks."""
        if "cold_first" not in self._wanted:
            return
        for number in range(rounds):
            found = {}
            for path in _turned(list(PATHS), number):
                with _up(path) as lab:
                    worlds.add_fresh_addresses(lab, "h3", FIRST_PINGS)
                    found[path] = [rtt.first(lab, "h1", worlds.fresh_address(one)) for one in range(FIRST_PINGS)]
            yield number, {"cold_first": found}

    def cold(self, rounds: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Packets to cold EIDs over a core that delays."""
        if not {"cold_lost", "cold_reordered"} & set(self._wanted):
            return
        fresh = rounds * cold.TRIES
        with ExitStack() as stack:
            labs = {path: stack.enter_context(Lab(worlds.cold_world(path, fresh))) for path in PATHS}
            for lab in labs.values():
                worlds.add_fresh_addresses(lab, "h2", fresh)
            for number in range(rounds):
                order = _turned(list(labs), number)
                bursts = {path: cold.burst(labs[path], "h1", "h2", number, self._cpu) for path in order}
                yield (
                    number,
                    {
                        "cold_lost": {path: one.lost for path, one in bursts.items()},
                        "cold_reordered": {path: one.reordered for path, one in bursts.items()},
                        "cold_duplicated": {path: one.duplicated for path, one in bursts.items()},
                        "cold_sent_kpps": {path: one.kpps for path, one in bursts.items()},
                    },
                )

    def _tcp(self, lab: Lab, source: str, destination: str, version: int) -> tcp.Stream:
        return tcp.Stream(lab, source, destination, lab[destination].address_of(version), self._cpu)

    def _udp(self, lab: Lab, size: int) -> udp.Flow:
        """Thousands of packets a second."""
        flow = udp.Flow(lab, "h1", "h2", size, self._cpu)
        tried = self._trials.setdefault(f"udp{size}_trials", {})
        tried[lab.name.removeprefix("bench-")] = [[one.sent / 1000, one.arrived / 1000] for one in flow.trials]
        return flow


def _throughput(
    labs: Mapping[str, Lab], opened: Callable[[Lab], tcp.Stream | udp.Flow]
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """What flows in each world, and the slices that it was measured in where two of them took turns."""
    with ExitStack() as stack:
        flows = {path: stack.enter_context(closing(opened(labs[path]))) for path in (PLAIN, EBPF)}
        found = slices.in_turn(
            {path: partial(flow.rate, slices.WARM_UP, slices.WINDOW) for path, flow in flows.items()}
        )
    with closing(opened(labs[PYTHON])) as flow:
        alone = flow.best.arrived / 1000 if isinstance(flow, udp.Flow) else flow.rate()
    return {PLAIN: median(found[PLAIN]), EBPF: median(found[EBPF]), PYTHON: alone}, found


@contextmanager
def _up(path: str) -> Iterator[Lab]:
    """A world in which every pair that will be measured has talked, by the data path that it is to have."""
    with Lab(worlds.speed_world(path)) as lab:
        pairs = (("h1", "h2", 4), ("h1", "h2", 6), ("client", "h1", 4), ("h1", "client", 4))
        for source, destination, version in pairs:
            rtt.first(lab, source, str(lab[destination].address_of(version)))
        for node in lab.topology.lisp_routers:
            running = lab.show(node.name, "statistics").get("dataplane", {"runs": path})  # an MS forwards nothing
            if running["runs"] != path:
                raise LabError(f"{node.name} of {lab.name} runs {running['runs']} ({running['why']}), not {path}")
        yield lab


def _turned(names: list[str], number: int) -> list[str]:
    """The names in the order of the round of that number: each is first, second, ... equally often."""
    turn = number % len(names)
    return names[turn:] + names[:turn]


def _in_words(values: dict[str, Any]) -> str:
    parts = []
    for one in MEASURES:
        if one.name in values:
            by_world = [f"{world} {_plain(value)}" for world, value in values[one.name].items()]
            parts.append(f"{one.name} {', '.join(by_world)} {one.unit}")
    return "; ".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return f"({', '.join(f'{name} {one:.3g}' for name, one in value.items())})"
    return " ".join(f"{one:.3g}" for one in value) if isinstance(value, list) else f"{value:.3g}"


def _machine() -> dict[str, Any]:
    model = re.search(r"^model name\s*: (.*)", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    return {"kernel": platform.release(), "cpu": model[1] if model else "unknown", "cpus": len(os.sched_getaffinity(0))}
