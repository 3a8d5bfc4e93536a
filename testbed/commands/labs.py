"""A lab's life: up, down, status; into its nodes; its daemons' logs and restarts."""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from testbed.drivers import OURS
from testbed.lab import InputError, Lab, LabError
from testbed.words import counted, echoed


def up(
    file: str,
    *,
    foreground: bool = False,
    name: str | None = None,
    run_dir: str | None = None,
    dataplane: str | None = None,
    implementations: Sequence[str] = (),
) -> None:
    """Boot a lab; return when it is ready, or stay with it until Ctrl-C.

    Args:
        file: The topology.
        foreground: Whether to stay.
        name: The lab's name.
        run_dir: Its run directory.
        dataplane: The data plane of all its LISP nodes.
        implementations: What runs on LISP nodes, each as ``NODE=NAME`` or ``NODE=FILE``.
    """
    cast = dict(_assignment(one) for one in implementations)
    place = Path(run_dir) if run_dir else None
    lab = Lab(file, name=name, run_dir=place, dataplane=dataplane, implementations=cast)
    if not foreground:
        lab.boot(detach=True, progress=progress())
        print(f"{lab.name} is up. Try: ci/lab ping · ci/lab cli · ci/lab down")
        return
    with terminated_as_interrupted():
        lab.boot(progress=progress())
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


def _assignment(words: str) -> tuple[str, str]:
    """A node, and what runs there."""
    node, _, which = words.partition("=")
    if not node or not which:
        allowed = "allowed is NODE=NAME or NODE=FILE, for example xtr1=my-router.yaml"
        raise InputError(f"--implementation {echoed(words)}: {allowed}")
    return node, which


def down(lab: str | None) -> None:
    """Take a lab down."""
    running = Lab.attach(lab)
    for line in running.stop():
        print(line, file=sys.stderr)
    print(f"{running.name} is down; its files are in {running.run_dir}")


def status(lab: str | None, *, as_json: bool = False) -> None:
    """Show the running labs, or one lab's nodes."""
    running = Lab.running()
    names = [lab] if lab else [one.name for one in running if not one.is_aside]
    reports = [_with_facts(Lab.attach(name)) for name in names]
    if as_json:
        print(json.dumps(reports, indent=1))
        return
    others = 0 if lab else len(running) - len(names)
    if others:
        print(f"a judge has {counted(others, 'lab')} of its own")
    if not reports:
        print("no lab is running; boot one with: ci/lab up two-dc")
    from testbed.observe.tables import draw, table

    for report in reports:
        draw(table("status", report["nodes"]), f"{report['lab']}: {report['state']}, {report['run_dir']}")


def execute(lab: str | None, node: str, argv: list[str]) -> int:
    """Run a command inside a node, with this terminal; return its exit status."""
    if not argv:
        raise InputError(f"say what to run after --, for example: ci/lab exec {echoed(node)} -- ip route")
    return Lab.attach(lab).exec(node, argv)


def shell(lab: str | None, node: str) -> int:
    """Open a shell inside a node; return its exit status."""
    return Lab.attach(lab).shell(node)


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


def move(lab: str | None, node: str, site: str, *, silent: bool = False) -> None:
    """Move a host to another site."""
    moved = Lab.attach(lab).move(node, site, silent=silent)
    milliseconds = (moved.plugged - moved.unplugged) * 1000
    print(f"{node} went from {moved.origin} to {moved.site}; its cable was out for {milliseconds:.1f} ms")


def progress() -> Callable[[str], None]:
    """Print each step of a boot with the seconds since it began; a reader that has gone does not end the boot."""
    began = time.monotonic()

    def say(step: str) -> None:
        try:
            print(f"{time.monotonic() - began:6.2f} s  {step}", file=sys.stderr, flush=True)
        except BrokenPipeError:
            from testbed.command_line import forget

            forget(sys.stderr)

    return say


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
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


def _with_facts(lab: Lab) -> dict[str, Any]:
    """A lab's status, each node with its roles and addresses from the topology: of a mobile node those that it has."""
    report = lab.status()
    for row in report["nodes"]:
        node = lab[row["name"]]
        row.setdefault("implementation", OURS if node.lisp else "")
        row["roles"] = sorted(role.value for role in node.lisp.roles) if node.lisp else []
        without = {interface for network, interface in node.networks.items() if network != row["site"]}
        interfaces = [address for one in node.interfaces if one.name not in without for address in one.addresses]
        row["addresses"] = [str(address) for address in (*node.eids, *interfaces)]
    return report
