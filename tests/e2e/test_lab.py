"""The lab through its client: commands in nodes, sockets, what it tells, two labs side by side."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed.client.channel import Channel
from testbed.lab import Lab, LabError
from tests.e2e.worlds import plain_world

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab with LISP daemons."""
    with Lab("minimal", name="test-lab", run_dir=tmp_path_factory.mktemp("runs") / "test-lab") as running:
        yield running


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A running lab without any daemon."""
    with Lab(plain_world(), name="test-plain", run_dir=tmp_path_factory.mktemp("runs") / "test-plain") as running:
        yield running


def test_ready_means_that_every_daemon_is_registered(lab: Lab) -> None:
    status = lab.status()
    assert (status["lab"], status["state"]) == ("test-lab", "ready")
    states = {node["name"]: node["state"] for node in status["nodes"]}
    assert states == {node.name: "ready" if node.lisp else "up" for node in lab.topology.nodes.values()}
    assert [event["event"] for event in lab.events][-1] == "ready"
    for router in lab.topology.lisp_routers:
        rows = lab.show(router.name, "database")
        servers = [server for row in rows for server in row["map_servers"]]
        assert all(server["state"] == "registered" for server in servers)


def test_hosts_of_two_sites_reach_each_other(lab: Lab) -> None:
    first, *_, last = lab.topology.hosts
    done = lab.run(first.name, ["ping", "-c", "1", "-W", "10", str(last.address)])
    assert done.returncode == 0, done.stdout


def test_the_first_packet_finds_everybody_known(plain: Lab) -> None:
    """Hosts announce themselves at boot: the switch knows their ports."""
    known = plain.run("fabric", ["bridge", "-j", "fdb", "show", "br", "fabric"])
    learned = {entry["mac"]: entry["ifname"] for entry in json.loads(known.stdout) if entry.get("state") != "permanent"}
    for host in ("h1", "h2"):
        assert learned[plain[host].interfaces[0].mac] == host


def test_the_world_is_what_the_topology_says(plain: Lab) -> None:
    for node in plain.topology.nodes.values():
        rows = json.loads(plain.run(node.name, ["ip", "-j", "address"]).stdout)
        there = {row["ifname"]: row for row in rows}
        for interface in node.interfaces:
            row = there[interface.name]
            assert row["address"] == interface.mac
            assert row["mtu"] == interface.mtu
            assert "UP" in row["flags"]
            addresses = [f"{one['local']}/{one['prefixlen']}" for one in row["addr_info"]]
            assert addresses == [str(address) for address in interface.addresses]
    routes = json.loads(plain.run("h1", ["ip", "-j", "route", "show", "default"]).stdout)
    assert [route["gateway"] for route in routes] == ["192.0.2.254"]
    assert plain.run("h1", ["ping", "-c", "1", "-W", "10", "198.51.100.2"]).returncode == 0


def test_interfaces_are_seen_in_sys_as_well(plain: Lab) -> None:
    assert set(plain.run("router", ["ls", "/sys/class/net"]).stdout.split()) == {"lo", "fabric", "far"}


@pytest.mark.parametrize(
    ("argv", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 3"], 3),
        (["sh", "-c", "kill -TERM $$"], 128 + signal.SIGTERM),
        (["sh", "-c", "kill -KILL $$"], 128 + signal.SIGKILL),
        (["no-such-command"], 127),
        (["/etc/passwd"], 126),
    ],
)
def test_the_exit_status_is_the_commands(plain: Lab, argv: list[str], status: int) -> None:
    assert plain.exec("h1", argv) == status
    assert plain.run("h1", argv).returncode == status


@pytest.mark.parametrize(
    "argument", ["two words", "it's", 'say "hi"', "$HOME `id` *", "back\\slash", "", "-n", "new\nline", "grün", ";|&<>"]
)
def test_arguments_arrive_as_they_are(plain: Lab, argument: str) -> None:
    done = plain.run("h1", ["printf", "%s|", argument, "end"])
    assert done.stdout == f"{argument}|end|"


def test_directory_and_environment_are_the_callers(plain: Lab, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LAB_TEST_WORD", "kept")
    assert plain.run("h1", ["sh", "-c", "pwd; echo $LAB_TEST_WORD"]).stdout.split() == [str(tmp_path), "kept"]


def test_standard_input_and_standard_error(plain: Lab) -> None:
    done = plain.run("h1", ["sh", "-c", "cat; echo oops >&2"], stdin="from outside\n")
    assert (done.stdout, done.stderr) == ("from outside\n", "oops\n")


def test_a_broken_pipe_ends_the_command(plain: Lab) -> None:
    """Python ignores SIGPIPE; commands must not inherit that."""
    assert plain.run("h1", ["sh", "-c", "(yes; echo $? >&2) | head -1"]).stderr.strip() == str(128 + signal.SIGPIPE)


def test_a_command_that_takes_too_long_is_killed(plain: Lab) -> None:
    with pytest.raises(LabError, match=r"h1: sleep 4711: not done within 0\.2 s"):
        plain.run("h1", ["sleep", "4711"], timeout=0.2)
    # The kill travels: helper, then command. The end of its process group's pipe says when it is over.
    left = plain.run("h1", ["sh", "-c", "timeout 5 sh -c 'while pgrep -fx \"sleep 4711\"; do :; done'"])
    assert left.returncode == 0


def test_ctrl_c_is_for_the_command(plain: Lab) -> None:
    """The command ends by SIGINT, the caller stays and gets its status."""
    script = (
        "import sys; from testbed.lab import Lab\n"
        "status = Lab.attach(sys.argv[1]).exec('h1', ['sh', '-c', 'echo started; exec sleep 60'])\n"
        "print('status', status)\n"
    )
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", script, f"{plain.run_dir}/"])
    output = b""
    while b"started" not in output:
        output += os.read(terminal, 1024)
    os.write(terminal, b"\x03")
    while b"status" not in output or not output.rstrip().endswith(b"130"):
        output += os.read(terminal, 1024)
    _, status = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(status) == 0
    assert b"status 130" in output


def test_a_shell_has_the_terminal_and_gives_it_back(plain: Lab) -> None:
    script = (
        "import sys; from testbed.lab import Lab\n"
        "status = Lab.attach(sys.argv[1]).shell('h1')\n"
        "print('status', status, input('more: '))\n"
    )
    child, terminal = pty.fork()
    if not child:
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, "-c", script, f"{plain.run_dir}/"])
    output = b""

    def expect(text: bytes) -> None:
        nonlocal output
        while text not in output:
            output += os.read(terminal, 1024)

    expect(b"[h1]")
    os.write(terminal, b"tty > /dev/null && set -o | grep monitor; exit 7\n")
    expect(b"more: ")
    os.write(terminal, b"thanks\n")
    expect(b"status 7 thanks")
    os.waitpid(child, 0)
    os.close(terminal)
    assert b"no job control" not in output


def test_a_socket_inside_a_node(plain: Lab) -> None:
    with plain.socket("h1") as ours, plain.socket("h2") as theirs:
        theirs.bind(("192.0.2.2", 7777))
        theirs.settimeout(20)
        ours.sendto(b"hello", ("192.0.2.2", 7777))
        data, sender = theirs.recvfrom(100)
    assert (data, sender[0]) == (b"hello", "192.0.2.1")


def test_a_packet_socket_inside_a_node(plain: Lab) -> None:
    with plain.socket("router", socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800)) as tap:
        tap.bind(("far", 0x0800))
        tap.settimeout(20)
        assert plain.run("h1", ["ping", "-c", "1", "-W", "10", "198.51.100.2"]).returncode == 0
        frame = tap.recv(2000)
    reply = socket.inet_aton("198.51.100.2") + socket.inet_aton("192.0.2.1")
    assert frame[26:34] == reply


def test_the_box_hides_what_is_outside(plain: Lab) -> None:
    mine = "outside-of-the-box"
    with subprocess.Popen(["cat", "-", mine], stdin=subprocess.PIPE) as outside:  # waits for its input's end
        outside_too = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True, check=True).stdout
        first, *others = plain.run("h1", ["ps", "-e", "-o", "args="]).stdout.splitlines()
        outside.communicate()
    assert "testbed/server/init.py" in first
    assert any("testbed.server" in line for line in others)
    assert mine in outside_too
    assert not [line for line in others if mine in line]
    assert plain.run("h1", ["hostname"]).stdout.strip() == plain.name
    assert plain.run("h1", ["ls", "/run"]).stdout.split() == ["lock", "netns"]
    ours = {(name, (Path("/proc/self/ns") / name).readlink()) for name in ("mnt", "net", "pid", "uts", "ipc")}
    theirs = plain.run("h1", ["sh", "-c", "for n in mnt net pid uts ipc; do readlink /proc/self/ns/$n; done"])
    assert not {str(place) for _, place in ours} & set(theirs.stdout.split())


def test_unknown_nodes_are_one_line_that_lists_the_known(plain: Lab) -> None:
    with pytest.raises(LabError, match=r"there is no node h9; nodes are h1, h2, fabric, router, far"):
        plain.run("h9", ["true"])
    with pytest.raises(LabError, match="h1 runs no LISP daemon; there are no nodes that run one"):
        plain.show("h1", "map-cache")
    with pytest.raises(LabError, match="h1 runs no daemon; there are no nodes that run one"):
        plain.restart("h1")


def test_a_lab_is_found_by_name(plain: Lab) -> None:
    assert plain.name in [one.name for one in Lab.running()]
    for name in (plain.name, f"{plain.run_dir}/", str(plain.run_dir)):
        assert Lab.attach(name).status()["nodes"] == plain.status()["nodes"]
    with pytest.raises(LabError, match="no lab named nobody is running"):
        Lab.attach("nobody")


def test_clients_that_listen_and_leave_cost_the_lab_nothing(plain: Lab) -> None:
    with Channel.open(plain.run_dir / "control.sock") as channel:
        descriptors = Path(f"/proc/{channel.peer}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        visitor = Lab.attach(plain.name)
        events = visitor.events
        visitor.close()
        assert visitor.events == events == plain.events  # asked anew, not twice
        visitor.close()
    assert plain.status()["state"] == "ready"  # which it answers after it has seen them leave
    assert len(list(descriptors.iterdir())) <= before + 1  # the conversation of that question may still be closing


def test_a_malformed_request_gets_an_answer(plain: Lab) -> None:
    with (
        Channel.open(plain.run_dir / "control.sock") as channel,
        pytest.raises(LabError, match="the request lacks 'family'"),
    ):
        channel.ask("socket", 5, node="h1")
    with (
        Channel.open(plain.run_dir / "control.sock") as channel,
        pytest.raises(LabError, match="the request makes no sense"),
    ):
        channel.ask("socket", 5, node="h1", family="x", type=1, proto=0)


def test_a_name_is_taken_once(plain: Lab) -> None:
    with pytest.raises(LabError, match="a lab named test-plain runs already"):
        Lab(plain_world(), name="test-plain", run_dir=plain.run_dir).boot()
    assert plain.status()["state"] == "ready"


def test_secrets_are_for_root_only(lab: Lab) -> None:
    for router in lab.topology.lisp_routers:
        directory = lab.run_dir / "nodes" / router.name
        for name in ("config.json", "control.sock"):
            assert stat.S_IMODE((directory / name).stat().st_mode) == 0o600
    assert stat.S_IMODE((lab.run_dir / "control.sock").stat().st_mode) == 0o600
    secrets = {
        server.key.secret for router in lab.topology.lisp_routers if router.lisp for server in router.lisp.map_servers
    }
    assert secrets
    logs = [*lab.run_dir.glob("*.jsonl"), *lab.run_dir.glob("nodes/*/log.jsonl"), lab.run_dir / "lab.stderr"]
    assert not [log for log in logs for secret in secrets if secret in log.read_text()]


def test_logs_are_json_lines(lab: Lab) -> None:
    for log in (lab.run_dir / "lab.jsonl", lab.log_path("xtr1")):
        for line in log.read_text().splitlines():
            assert {"time", "node", "event", "fields"} <= json.loads(line).keys()


def test_two_labs_of_one_topology_side_by_side(lab: Lab, tmp_path: Path) -> None:
    with Lab("minimal", name="test-twin", run_dir=tmp_path / "test-twin") as twin:
        first, *_, last = twin.topology.hosts
        for one in (lab, twin):
            assert one.run(first.name, ["ping", "-c", "1", "-W", "10", str(last.address)]).returncode == 0
        assert twin.run("xtr1", ["pkill", "-KILL", "-f", "fork_server"]).returncode == 0
        twin.wait_for("daemon-died", "xtr1")
        assert {node["state"] for node in lab.status()["nodes"]} == {"ready", "up"}
    assert lab.run(first.name, ["ping", "-c", "1", "-W", "10", str(last.address)]).returncode == 0


@pytest.mark.parametrize("name", ["", "a/b", "-x", "two words", "x" * 64, ".."])
def test_a_name_that_cannot_be_one(name: str) -> None:
    with pytest.raises(LabError, match="is not a name for a lab"):
        Lab(plain_world(), name=name or " ")


def test_a_plain_user_gets_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    script = (
        "import os, sys; from pathlib import Path; from testbed.lab import Lab, LabError\n"
        "from tests.e2e.worlds import plain_world\n"
        "os.setuid(65534)\n"
        "try: Lab(plain_world(), run_dir=Path(sys.argv[1])).boot()\n"
        "except LabError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "mine")], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.stdout == "a lab needs root; run it with sudo\n", done.stderr
