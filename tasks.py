"""The commands of the testbed: `ci/lab TASK …`, or `inv TASK …` inside the virtual environment.

Each task parses its words and calls one function of ``testbed.commands``, imported when a task begins; an error is one
line and exit status 1 or 2. ``testbed.command_line`` knows what options mean that many tasks have.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from invoke import Collection, Context

import testbed
from testbed import command_line
from testbed.command_line import task


@task(
    positional=("file",),
    iterable=("implementation",),
    help={
        "file": "a topology file, or the name of one under topologies/",
        "foreground": "stay until Ctrl-C instead of returning when the lab is ready",
        "name": "call the lab this instead of its topology's name: two of one topology side by side",
        "run-dir": "keep the run's files here instead of .runs/NAME",
        "implementation": "what runs on a LISP node: NODE=NAME or NODE=FILE, a driver file; may be given several times",
    },
)
def up(
    _context: Context,
    file: str,
    foreground: bool = False,
    name: str = "",
    run_dir: str = "",
    dataplane: str = "",
    implementation: list[str] | None = None,
) -> None:
    """Boot a lab and return when it is ready.

    Example: ci/lab up two-dc
    """
    testbed.commands.up(
        file,
        foreground=foreground,
        name=name or None,
        run_dir=run_dir or None,
        dataplane=dataplane or None,
        implementations=implementation or (),
    )


@task(
    positional=("file",),
    help={
        "file": "a topology file, or the name of one under topologies/",
        "resolved": "print the file with every address, interface and key filled in",
    },
)
def validate(_context: Context, file: str, resolved: bool = False) -> None:
    """Read a topology file and tell every mistake in it; exit status 2 if there is one.

    Example: ci/lab validate topologies/two-dc.yaml
    """
    testbed.commands.validate(file, resolved=resolved)


@task(
    positional=("file",),
    help={
        "file": "a topology file, or the name of one under topologies/",
        "output": "where the SVG goes, - for standard output (default NAME.svg in this directory)",
    },
)
def graph(_context: Context, file: str, output: str = "") -> None:
    """Draw a topology as SVG: sites, roles, RLOCs, EID-prefixes, addresses, links.

    Example: ci/lab graph two-dc --output two-dc.svg
    """
    testbed.commands.graph(file, output=output or None)


@task()
def generate(_context: Context) -> None:
    """Write anew what is generated: README.md, schema.json, hundred-sites.yaml, two-dc.svg, the drivers' README.md.

    Example: ci/lab generate
    """
    testbed.commands.generate()


@task()
def down(_context: Context, lab: str = "") -> None:
    """Take a lab down; nothing stays but its run directory.

    Example: ci/lab down
    """
    testbed.commands.down(lab or None)


@task()
def status(_context: Context, lab: str = "", json: bool = False) -> None:
    """Show the running labs and their nodes.

    Example: ci/lab status
    """
    testbed.commands.status(lab or None, as_json=json)


@task(name="exec", positional=("node",), help={"node": "a node of the lab"})
def exec_(_context: Context, node: str, lab: str = "") -> int:
    """Run a command inside a node; its exit status is ours.

    Example: ci/lab exec h1 -- ping -c 1 192.168.2.11
    """
    return testbed.commands.execute(lab or None, node, command_line.after_dashes())


@task(positional=("node",), help={"node": "a node of the lab"})
def shell(_context: Context, node: str, lab: str = "") -> int:
    """Open a shell inside a node.

    Example: ci/lab shell xtr1
    """
    return testbed.commands.shell(lab or None, node)


@task()
def cli(_context: Context, lab: str = "") -> None:
    """Open a prompt inside a lab: `h1 ping -c 1 h4`, `show xtr1 map-cache`.

    Example: ci/lab cli
    """
    from testbed import prompt

    prompt.cli(lab or None)


@task(help={"timeout": "seconds to wait for each reply (default 2)"})
def ping(_context: Context, timeout: str = "2", json: bool = False, lab: str = "") -> int:
    """Ping every ordered pair of hosts and judge each path by what the core saw.

    Example: ci/lab ping
    """
    return testbed.commands.ping(lab or None, timeout=testbed.commands.seconds(timeout), as_json=json)


@task(
    positional=("node", "what"),
    help={
        "node": "a LISP node",
        "what": "map-cache, locators, contacts, database, registrations, dynamic-eids, subscriptions, roles, "
        "statistics, interfaces",
        "verify": "compare the kernel's map-cache with the engine's; exit status 1 where they differ",
    },
)
def show(
    _context: Context, node: str, what: str, verify: bool = False, json: bool = False, lab: str = ""
) -> int | None:
    """Show a table of a LISP node.

    Example: ci/lab show xtr1 map-cache --verify
    """
    if verify:
        return testbed.commands.verify(lab or None, node, what, as_json=json)
    testbed.commands.show(lab or None, node, what, as_json=json)
    return None


@task(
    positional=("node", "eid"),
    help={
        "node": "the ITR or PITR that asks",
        "eid": "the EID asked for",
        "instance-id": "its instance-ID (default 0)",
    },
)
def lig(_context: Context, node: str, eid: str, instance_id: str = "0", json: bool = False, lab: str = "") -> None:
    """Ask the mapping system for an EID's mapping.

    Example: ci/lab lig xtr1 192.168.2.11
    """
    testbed.commands.lig(lab or None, node, eid, instance_id=testbed.commands.instance_id(instance_id), as_json=json)


@task(
    positional=("node", "key_id"),
    help={"node": "an ETR of the site", "key-id": "the id of its key or of one of its other-keys"},
)
def key(_context: Context, node: str, key_id: str, lab: str = "") -> None:
    """Change the key that an ETR registers with, while traffic flows.

    Example: ci/lab key xtr1 2
    """
    testbed.commands.key(lab or None, node, testbed.commands.key_id(key_id))


@task(
    positional=("node", "eid", "rloc"),
    help={
        "node": "an ETR of the site",
        "eid": "an EID-prefix of the site, as it is registered",
        "rloc": "one of its RLOCs",
        "priority": "0 to 255, the lowest is used; 255: never",
        "weight": "0 to 255, its share among RLOCs of equal priority",
        "instance-id": "the EID-prefix's instance-ID (default 0)",
    },
)
def locator(
    _context: Context,
    node: str,
    eid: str,
    rloc: str,
    priority: str = "",
    weight: str = "",
    instance_id: str = "0",
    json: bool = False,
    lab: str = "",
) -> None:
    """Change how a site wants to be reached, while traffic flows.

    Example: ci/lab locator xtr1 192.168.1.0/24 10.0.2.2 --weight 25
    """
    testbed.commands.locator(
        lab or None,
        node,
        eid,
        rloc,
        priority=testbed.commands.octet(priority, "priority"),
        weight=testbed.commands.octet(weight, "weight"),
        instance_id=testbed.commands.instance_id(instance_id),
        as_json=json,
    )


@task(positional=("node",), help={"node": "a LISP node", "follow": "go on as lines are added"})
def logs(_context: Context, node: str, follow: bool = False, lab: str = "") -> None:
    """Print a node's log, one JSON object a line.

    Example: ci/lab logs xtr1 --follow
    """
    testbed.commands.logs(lab or None, node, follow=follow)


@task(positional=("node",), help={"node": "a LISP node"})
def restart(_context: Context, node: str, lab: str = "") -> None:
    """Restart a node's daemon, dead or alive.

    Example: ci/lab restart ms
    """
    testbed.commands.restart(lab or None, node)


@task(
    positional=("node", "site"),
    help={
        "node": "a host on the fabric of a site, or a mobile node",
        "site": "the site with the fabric where it goes; of a mobile node, the access network",
        "silent": "the host does not say where it is",
    },
)
def move(_context: Context, node: str, site: str, silent: bool = False, lab: str = "") -> None:
    """Move a host to another site with its addresses and open sockets, or a mobile node to another network.

    Example: ci/lab move mobile dc2
    """
    testbed.commands.move(lab or None, node, site, silent=silent)


@task(
    help={
        "from": "the node that sends",
        "to": "the node that receives",
        "tcp": "by TCP (the default)",
        "udp": "by UDP",
        "rate": "Mbit/s of all flows together (default: TCP as fast as it goes, UDP 10)",
        "seconds": "how long (default 5)",
        "flows": "how many flows at a time (default 1)",
        "ipv6": "over IPv6; by default over IPv4 where both nodes have it",
    }
)
def traffic(
    _context: Context,
    from_: str = "",
    to: str = "",
    tcp: bool = False,
    udp: bool = False,
    rate: str = "",
    seconds: str = "5",
    flows: str = "1",
    ipv6: bool = False,
    json: bool = False,
    lab: str = "",
) -> int:
    """Send traffic between two nodes with iperf3, and say how much arrived and how it crossed the core.

    Example: ci/lab traffic --from h1 --to h4 --udp --rate 20
    """
    return testbed.commands.traffic(
        lab or None,
        from_,
        to,
        udp=testbed.commands.by_udp(tcp, udp),
        rate=testbed.commands.megabits(rate),
        seconds=testbed.commands.number(seconds, "seconds", 86400),
        flows=testbed.commands.number(flows, "flows", 128),
        version=6 if ipv6 else None,
        as_json=json,
    )


@task(
    help={
        "scenario": "reachability: who reaches whom; mobility: a host moves while it talks (default: both)",
        "topology": "reachability: what to boot (default two-dc)",
        "html": "mobility: where its page goes (default mobility.html in the run directory)",
    }
)
def demo(_context: Context, scenario: str = "", topology: str = "", dataplane: str = "", html: str = "") -> int:
    """Boot two data centres, prove that everybody reaches everybody; then move a host while it talks to all of them.

    Example: sudo ci/lab demo
    """
    return testbed.commands.demo(scenario, topology=topology, dataplane=dataplane or None, html=html)


@task(
    positional=("name",),
    help={
        "name": "what to measure: boot, scale, dataplane, mobility",
        "json": "where every raw round goes",
        "plot": "dataplane: where the chart goes, an SVG file",
        "rounds": "dataplane: how many rounds (default 5); mobility: how many moves (default 30)",
        "only": "dataplane, mobility: measure these figures only, by their keys, such as tcp_ratio,rtt_ratio",
        "earlier": "dataplane, mobility: measure nothing, show the JSON file of an earlier run",
        "markdown": "dataplane, mobility: print the table in Markdown, as it stands in the README",
    },
)
def bench(
    _context: Context,
    name: str,
    json: str = "",
    plot: str = "",
    rounds: str = "",
    only: str = "",
    earlier: str = "",
    markdown: bool = False,
) -> None:
    """Measure this machine.

    Example: ci/lab bench dataplane --json dataplane.json --plot dataplane.svg
    """
    from ci import benches

    benches.run(name, json, plot=plot, rounds=rounds, only=only, earlier=earlier, markdown=markdown)


@task(
    iterable=("only",),
    help={
        "only": "a requirement of the catalogue, such as C19; several: --only C19 --only D02",
        "implementation": "what is judged: the name of an implementation, or your driver file (default our own)",
        "role": "only what binds this role: itr, etr, pitr, petr, rtr, map-server, map-resolver",
        "dataplane": "only by this data path: python, ebpf",
        "json": "where the verdicts go",
        "junit": "where the tests' outcomes go as JUnit XML",
        "html": "where a page goes that shows all of it with the packets",
        "captures": "the directory where the packets of each test go (.runs/conformance/captures)",
        "long": "long timers in real time, a quarter of an hour at most; otherwise on clocks that run faster",
        "jobs": "how many labs work side by side; 0, the default, is one for each core",
        "selftest": "judge the tests: routers with a seeded defect each; with --long, every test for each of them",
    },
)
def conformance(
    _context: Context,
    implementation: str = "",
    only: list[str] | None = None,
    role: str = "",
    dataplane: str = "",
    json: str = "",
    junit: str = "",
    html: str = "",
    captures: str = "",
    jobs: int = 0,
    long: bool = False,
    selftest: bool = False,
) -> int:
    """Judge LISP routers, ours or another, requirement by requirement, by what tests see on the wire.

    Example: sudo ci/lab conformance --json conformance.json
    """
    from tests.conformance.instrument import command

    return command.conformance(
        implementation=implementation,
        only=only or (),
        role=role,
        dataplane=dataplane,
        json_file=json,
        junit_file=junit,
        html_file=html,
        captures=captures,
        jobs=jobs,
        long=long,
        selftest=selftest,
    )


@task()
def doctor(_context: Context, json: bool = False) -> int:
    """Try what this machine offers; exit status 1 only if no lab can run here.

    Example: ci/lab doctor
    """
    return testbed.commands.doctor(as_json=json)


if __name__ == "__main__":
    command_line.run(Collection.from_module(sys.modules[__name__]))
