"""What hosts see of each other: ping, traffic, and the proof that everybody reaches everybody."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.commands.labs import progress, terminated_as_interrupted
from testbed.lab import InputError, Lab
from testbed.model import Topology


def ping(lab: str | None, *, timeout: float = 2.0, as_json: bool = False) -> int:
    """Ping every ordered pair of hosts; return 1 when a pair does not do what the topology says."""
    return _ping(Lab.attach(lab), timeout=timeout, as_json=as_json)


def traffic(
    lab: str | None,
    source: str,
    destination: str,
    *,
    udp: bool = False,
    rate: float | None = None,
    seconds: int = 5,
    flows: int = 1,
    version: int | None = None,
    as_json: bool = False,
) -> int:
    """Send traffic from one node to another; return 1 when its path is not what the topology says."""
    if not source or not destination:
        raise InputError("say from where to where, for example: ci/lab traffic --from h1 --to h4")
    from testbed.act.traffic import FILE
    from testbed.act.traffic import traffic as send

    running = Lab.attach(lab)
    result = send(running, source, destination, udp=udp, rate=rate, seconds=seconds, flows=flows, version=version)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return 0 if result.ok else 1
    from testbed.observe.tables import draw, throughput

    protocol = f"{'UDP' if udp else 'TCP'} over IPv{result.version}"
    draw(throughput(result), f"{source} to {destination}: {protocol}, {result.report.seconds:.1f} s")
    for one in result.moves:
        print(f"{one.node} moved from {one.origin} to {one.site} meanwhile")
    print(f"there  {result.there}")
    if result.back:
        print(f"back   {result.back}")
    for complaint in result.complaints:
        print(f"FAIL {complaint}")
    print(f"result {running.run_dir / FILE}")
    return 0 if result.ok else 1


def reachability(topology: str, *, dataplane: str | None = None) -> int:
    """Boot a lab, prove reachability, show what was learned, take it down; return 1 when a pair fails."""
    lab = Lab(topology, name=f"demo-{Path(topology).stem}", dataplane=dataplane)
    with terminated_as_interrupted():
        lab.boot(progress=progress())
        try:
            print(f"\n{lab.topology.title}\n")
            failed = _ping(lab)
            _show_what_was_learned(lab, lab.topology)
        finally:
            lab.stop()
    print(f"\n{lab.name} is down; the run's files are in {lab.run_dir}")
    print(f"Keep one running with: ci/lab up {topology}")
    return failed


def _ping(lab: Lab, *, timeout: float = 2.0, as_json: bool = False) -> int:
    from testbed.act.ping import ping as ping_all

    result = ping_all(lab, lab.run_dir, timeout=timeout)
    lab.publish(lab.run_dir / "ping.json", result.capture)
    if as_json:
        print(json.dumps(result.to_json(), indent=1))
        return 1 if result.failures else 0
    from testbed.observe.tables import draw, reachability

    if not result.pairs:
        print("there are no two hosts to ping")
        return 0
    for title, matrix in reachability(result.pairs).items():
        draw(matrix, title)
    for pair in result.failures:
        print(
            f"FAIL {pair.source} -> {pair.destination} (IPv{pair.version}): "
            f"expected {pair.expected}, seen {pair.seen}; {pair.evidence}"
        )
    for pair in result.pairs:
        if pair.ok and pair.lost:
            print(
                f"{pair.source} -> {pair.destination} (IPv{pair.version}): the second request was answered; "
                "a host that moved loses the first one to an old neighbour (README, Limits)"
            )
    silent = [node for node, moved in result.counters.items() if moved is None]
    if silent:
        print(f"no counters of {', '.join(silent)}: no daemon answers there")
    paths: dict[str, int] = {}
    for pair in result.pairs:
        paths[pair.seen.value] = paths.get(pair.seen.value, 0) + 1
    summary = ", ".join(f"{number} {path}" for path, number in paths.items())
    print(f"{len(result.pairs)} pairs: {summary}; {len(result.failures)} failed")
    print(f"result {lab.run_dir / 'ping.json'}\ncore's packets {result.capture}")
    return 1 if result.failures else 0


def _show_what_was_learned(lab: Lab, topology: Topology) -> None:
    """The map-cache of the first ITR: what the pings made it ask for."""
    from testbed.observe.tables import draw, table

    for router in topology.lisp_routers:
        if router.lisp is not None and "itr" in router.lisp.roles:
            draw(table("map-cache", lab.show(router.name, "map-cache")), f"\n{router.name}: map-cache")
            return
