"""What each command does and prints. `tasks.py` parses the words; one function here carries out each of them."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import ip_network
from pathlib import Path
from typing import Any

from testbed.lab import Lab, LabError
from testbed.model import Topology

SHOWN = ("map-cache", "database", "registrations", "dynamic-eids", "roles", "statistics", "interfaces")
"""What `show` shows."""


def seconds(text: str) -> float:
    """Read a positive number of seconds.

    Raises:
        LabError: It is not one.
    """
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 86400:
        raise LabError(f"{text} is not a time; allowed are seconds above 0, at most a day")
    return value


def instance_id(text: str) -> int:
    """Read a 24-bit instance-ID.

    Raises:
        LabError: It is not one.
    """
    if not text.isdecimal() or int(text) >= 1 << 24:
        raise LabError(f"{text} is not an instance-ID; allowed are 0 to {(1 << 24) - 1}")
    return int(text)


def octet(text: str, name: str) -> int | None:
    """Read a priority or weight, 0 to 255; "" is None.

    Raises:
        LabError: It is not one.
    """
    if not text:
        return None
    if not text.isdecimal() or int(text) > 255:
        raise LabError(f"{name} {text} is not allowed; allowed are 0 to 255")
    return int(text)


def megabits(text: str) -> float | None:
    """Read a rate in Mbit/s; "" is None.

    Raises:
        LabError: It is not one.
    """
    if not text:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0.001 <= value <= 1e6:
        raise LabError(f"{text} is not a rate; allowed are Mbit/s from 0.001 to 1000000")
    return value


def number(text: str, what: str, most: int) -> int:
    """Read a whole number of ``what``, from 1 to ``most``.

    Raises:
        LabError: It is not one.
    """
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text) <= most:
        raise LabError(f"{text} is not a number of {what}; allowed are 1 to {most}")
    return int(text)


def by_udp(tcp: bool, udp: bool) -> bool:
    """Whether UDP is wanted; TCP is when nothing is said.

    Raises:
        LabError: Both are.
    """
    if tcp and udp:
        raise LabError("traffic: --tcp and --udp exclude each other; run it twice to compare them")
    return udp


def _progress() -> Callable[[str], None]:
    """Print each step of a boot with the seconds since it began."""
    began = time.monotonic()

    def say(step: str) -> None:
        print(f"{time.monotonic() - began:6.2f} s  {step}", file=sys.stderr, flush=True)

    return say


def up(file: str, *, foreground: bool = False, name: str | None = None, run_dir: str | None = None) -> None:
    """Boot a lab; return when it is ready, or stay with it until Ctrl-C."""
    lab = Lab(file, name=name, run_dir=Path(run_dir) if run_dir else None)
    if not foreground:
        lab.boot(detach=True, progress=_progress())
        print(f"{lab.name} is up. Try: ci/lab ping · ci/lab cli · ci/lab down")
        return
    with _terminated_as_interrupted():
        lab.boot(progress=_progress())
        try:
            print(f"{lab.name} is up. Ctrl-C takes it down.", flush=True)
            for event in lab.follow():
                print(_event_line(event), flush=True)
                if event["event"] == "stopped":
                    return
            raise LabError(f"{lab.name} has ended: its init or its lab process was killed; nothing of it is left")
        except KeyboardInterrupt:
            print(f"\ntaking {lab.name} down", file=sys.stderr)
        finally:
            lab.stop()


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, so that whoever ends us gets the same clean end."""

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    former = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _event_line(event: dict[str, Any]) -> str:
    """One event of the lab, for a person."""
    details = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("event", "log_tail"))
    tail = "".join(f"\n    {line}" for line in event.get("log_tail", ()))
    return f"{event.get('event')}: {details}{tail}"


def validate(file: str, *, resolved: bool = False) -> None:
    """Read a topology and say what it holds, or print it resolved; create nothing.

    Raises:
        TopologyError: There are mistakes in it.
    """
    from testbed.load import load

    topology = load(file)
    if resolved:
        print(topology.source, end="")
        return
    counts = {"site": len(topology.sites), "node": len(topology.nodes), "link": len(topology.links)}
    counts["expectation"] = len(topology.expectations)
    told = ", ".join(f"{number} {noun}{'' if number == 1 else 's'}" for noun, number in counts.items())
    print(f"{topology.name} is valid: {told}")


def graph(file: str, *, output: str | None = None) -> None:
    """Draw a topology as SVG into a file, or to standard output for "-".

    Raises:
        TopologyError: There are mistakes in it.
        LabError: The file cannot be written.
    """
    from testbed.client.box import give, owner
    from testbed.graph import graph as draw_topology
    from testbed.load import load

    topology = load(file)
    drawing = draw_topology(topology)
    if output == "-":
        sys.stdout.write(drawing)
        return
    path = Path(output or f"{topology.name}.svg")
    new = not path.exists()
    try:
        path.write_text(drawing, encoding="utf-8")
        if new:
            give(path, owner())
    except OSError as error:
        raise LabError(f"graph: {path} cannot be written: {error.strerror}") from None
    print(f"{path} shows {topology.name}")


def generate() -> None:
    """Write anew what is generated from the topology language."""
    from testbed.generate import generate as write

    written = write()
    print("\n".join(f"topologies/{name} is new" for name in written) or "everything generated is current")


def down(lab: str | None) -> None:
    """Take a lab down."""
    running = Lab.attach(lab)
    running.stop()
    print(f"{running.name} is down; its files are in {running.run_dir}")


def status(lab: str | None, *, as_json: bool = False) -> None:
    """Show the running labs, or one lab's nodes."""
    names = [lab] if lab else [one.name for one in Lab.running()]
    reports = [_with_facts(Lab.attach(name)) for name in names]
    if as_json:
        print(json.dumps(reports, indent=1))
        return
    if not reports:
        print("no lab is running; boot one with: ci/lab up two-dc")
        return
    from testbed.observe.tables import draw, table

    for report in reports:
        draw(table("status", report["nodes"]), f"{report['lab']}: {report['state']}, {report['run_dir']}")


def _with_facts(lab: Lab) -> dict[str, Any]:
    """A lab's status, each node with its roles and addresses from the topology."""
    report = lab.status()
    for row in report["nodes"]:
        node = lab[row["name"]]
        row["roles"] = sorted(role.value for role in node.lisp.roles) if node.lisp else []
        row["addresses"] = [str(address) for one in node.interfaces for address in one.addresses]
    return report


def execute(lab: str | None, node: str, argv: list[str]) -> int:
    """Run a command inside a node, with this terminal; return its exit status."""
    if not argv:
        raise LabError(f"exec: say what to run after --, for example: ci/lab exec {node} -- ip route")
    return Lab.attach(lab).exec(node, argv)


def shell(lab: str | None, node: str) -> int:
    """Open a shell inside a node; return its exit status."""
    return Lab.attach(lab).shell(node)


def show(lab: str | None, node: str, what: str, *, as_json: bool = False) -> None:
    """Show a table of a LISP node."""
    if what not in SHOWN:
        raise LabError(f"show: nothing is called {what}; there are {', '.join(SHOWN)}")
    data = Lab.attach(lab).show(node, what)
    if as_json:
        print(json.dumps(data, indent=1))
        return
    from testbed.observe.tables import draw, facts, table

    title = f"{node}: {what}"
    if isinstance(data, list):
        draw(table(what, data) if data else None, title)
    else:
        draw(facts(data), title)


def lig(lab: str | None, node: str, eid: str, *, instance_id: int = 0, as_json: bool = False) -> None:
    """Ask the mapping system for an EID from a node, and show the reply (RFC 6835)."""
    try:
        ip_network(eid)
    except ValueError:
        raise LabError(f"lig: {eid} is not an EID; allowed is an IPv4 or IPv6 address or prefix") from None
    answer = Lab.attach(lab).lig(node, eid, instance_id)
    if as_json:
        print(json.dumps(answer, indent=1))
        return
    from testbed.observe.tables import draw, table

    title = f"{node}: Map-Reply from {answer['replier']} in {answer['rtt_ms']:.1f} ms"
    draw(table("lig", answer["records"]), title)


def locator(
    lab: str | None,
    node: str,
    eid: str,
    rloc: str,
    *,
    priority: int | None,
    weight: int | None,
    instance_id: int = 0,
    as_json: bool = False,
) -> None:
    """Change the priority or weight of one of a site's RLOCs while the lab runs."""
    if priority is None and weight is None:
        raise LabError("locator: say what is to change: --priority, --weight or both")
    answer = Lab.attach(lab).set_locator(node, eid, rloc, priority, weight, instance_id)
    if as_json:
        print(json.dumps(answer, indent=1))
        return
    from testbed.observe.tables import draw, table

    told = ", ".join(answer["peers"]) or "nobody"
    draw(table("locator", [answer]), f"{node}: asked to ask again: {told}")


def logs(lab: str | None, node: str, *, follow: bool = False) -> None:
    """Print a node's log: JSON lines."""
    for line in Lab.attach(lab).log(node, follow=follow):
        sys.stdout.write(line)
        sys.stdout.flush()


def restart(lab: str | None, node: str) -> None:
    """Restart a node's daemon."""
    running = Lab.attach(lab)
    running.restart(node)
    print(f"{node} runs again")


def ping(lab: str | None, *, timeout: float = 2.0, as_json: bool = False) -> int:
    """Ping every ordered pair of hosts; return 1 when a pair does not do what the topology says."""
    return _ping(Lab.attach(lab), timeout=timeout, as_json=as_json)


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
        raise LabError("traffic: say from where to where, for example: ci/lab traffic --from h1 --to h4")
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
    print(f"there  {result.there}")
    if result.back:
        print(f"back   {result.back}")
    for complaint in result.complaints:
        print(f"FAIL {complaint}")
    print(f"result {running.run_dir / FILE}")
    return 0 if result.ok else 1


def demo(topology: str = "two-dc") -> int:
    """Boot a lab, prove reachability, show what was learned, take it down."""
    lab = Lab(topology, name=f"demo-{Path(topology).stem}")
    with _terminated_as_interrupted():
        lab.boot(progress=_progress())
        try:
            print(f"\n{lab.topology.title}\n")
            failed = _ping(lab)
            _show_what_was_learned(lab, lab.topology)
        finally:
            lab.stop()
    print(f"\n{lab.name} is down; the run's files are in {lab.run_dir}")
    print("Keep one running with: ci/lab up two-dc")
    return failed


def _show_what_was_learned(lab: Lab, topology: Topology) -> None:
    """The map-cache of the first ITR: what the pings made it ask for."""
    from testbed.observe.tables import draw, table

    for router in topology.lisp_routers:
        if router.lisp is not None and "itr" in router.lisp.roles:
            draw(table("map-cache", lab.show(router.name, "map-cache")), f"\n{router.name}: map-cache")
            return


def doctor(*, as_json: bool = False) -> int:
    """Say what this machine offers and what is missing; return 1 when no lab can run here."""
    from testbed.doctor import examine

    report = examine()
    if as_json:
        print(json.dumps(report.to_json(), indent=1))
        return 0 if report.lab_can_run else 1
    from testbed.observe.tables import draw, examination

    draw(examination(report.findings), report.machine.words)
    without = ", ".join(one.name for one in report.missing) or "nothing"
    print(f"{'a lab can run here' if report.lab_can_run else 'NO LAB CAN RUN HERE'}; missing: {without}")
    return 0 if report.lab_can_run else 1
