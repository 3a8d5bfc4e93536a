"""Mininet's own API on our machines, links and switches, in a box of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOX = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]

PROLOGUE = """
import json, os, subprocess
from nodes.kinds.fabric import Fabric
from nodes.kinds.host import Host
from nodes.kinds.link import VethLink
from nodes.kinds.router import Router
from testbed.server.build import Network, build
from tests.e2e.worlds import plain_world

def shells():
    listing = subprocess.run(["ps", "-e", "-o", "args="], capture_output=True, text=True).stdout
    return [line for line in listing.splitlines() if "mininet:" in line]
"""


def in_a_box(script: str) -> dict[str, object]:
    """Run a script in namespaces of its own; it prints one JSON object as its last line."""
    done = subprocess.run(
        [*BOX, sys.executable, "-c", PROLOGUE + script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_ping_all_cmd_and_popen_on_a_built_topology() -> None:
    seen = in_a_box("""
network = build(plain_world(3))
before = shells()
loss = network.pingAll()
h1 = network["h1"]
popen = h1.popen(["ip", "-j", "address", "show", "dev", "fabric"])
out, err = popen.communicate()
print(json.dumps({
    "before": before, "loss": loss, "shells": len(shells()),
    "cmd": h1.cmd("echo $((6 * 7))").strip(), "quoted": h1.cmd("printf '%s' 'two  words'"),
    "popen": json.loads(out)[0]["addr_info"][0]["local"], "popen_status": popen.returncode,
    "pexec": h1.pexec("sh -c exit"), "ip": h1.IP(), "mac": h1.MAC(), "up": h1.intf().isUp(),
    "names": list(network), "length": len(network), "repr": repr(network["fabric"]),
    "connected": [[str(a), str(b)] for a, b in h1.connectionsTo(network["fabric"])],
}))
""")
    assert seen["before"] == []  # nobody needed a shell so far
    assert seen["loss"] == 0
    assert seen["shells"] == 4  # pingAll typed into those of the hosts
    assert (seen["cmd"], seen["quoted"]) == ("42", "two  words")
    assert (seen["popen"], seen["popen_status"], seen["pexec"]) == ("192.0.2.1", 0, ["", "", 0])
    assert (seen["ip"], seen["mac"], seen["up"]) == ("192.0.2.1", "02:00:00:00:00:01", True)
    assert seen["names"] == ["h1", "h2", "h3", "far", "fabric", "router"]
    assert seen["length"] == 6
    assert seen["connected"] == [["fabric", "h1"]]


def test_a_network_made_by_hand_as_mininet_users_do() -> None:
    seen = in_a_box("""
network = Network()
a, b = network.addHost("a"), network.addHost("b", ip="10.0.0.9/8", mac="02:00:00:00:00:99")
c = network.addHost("c", ip="192.0.2.7/24", defaultRoute="via 192.0.2.1")
switch, router = network.addSwitch("s1"), network.add_router("r")
network.addLink(a, switch), network.addLink(b, switch), network.addLink(router, switch), network.addLink(c, router)
network.configHosts()
router.setIP("10.0.0.254", 8, intf="s1")
router.setIP("192.0.2.1/24", intf="c")
a.setDefaultRoute("dev s1 via 10.0.0.254")
network.start()
link = network.linksBetween(a, switch)[0]
result = {
    "loss": network.ping([a, b]), "through": a.cmd("ping -c1 -W2 192.0.2.7 | grep -c 'bytes from'").strip(),
    "b": [b.IP(), b.MAC()], "interfaces": router.intfNames(),
    "second": str(network.addLink(a, switch).intf1), "status": str(link.status()),
}
c.setDefaultRoute("c" if False else "dev r via 192.0.2.9")
result["default"] = c.cmd("ip -j route show default")
network.delLink(link)
result["left"] = a.intfNames()
network.stop()
result["shells"] = shells()
print(json.dumps(result))
""")
    assert seen["loss"] == 0
    assert seen["through"] == "1"
    assert seen["b"] == ["10.0.0.9", "02:00:00:00:00:99"]
    assert seen["interfaces"] == ["s1", "c"]
    assert (seen["second"], seen["left"]) == ("s1-2", ["s1-2"])
    assert seen["status"] == "(OK OK)"
    assert [route["gateway"] for route in json.loads(str(seen["default"]))] == ["192.0.2.9"]
    assert seen["shells"] == []


def test_nothing_outside_the_namespaces_is_touched() -> None:
    """Stock Mininet raises limits of the whole machine when it starts; a lab writes none of its settings."""
    seen = in_a_box("""
import glob
def settings():
    found = {}
    for path in glob.glob("/proc/sys/**", recursive=True):
        try:
            found[path] = open(path).read()
        except (OSError, ValueError):
            pass
    return found
before = settings()
network = build(plain_world(2))
after = settings()
moving = ("random", "nr", "inode", "dentry", "entropy", "pid")
changed = [path for path in before if before[path] != after.get(path)]
print(json.dumps({
    "changed": [path for path in changed if not any(word in path for word in moving)],
    "new": [path for path in after if path not in before],
}))
""")
    assert (seen["changed"], seen["new"]) == ([], [])


@pytest.mark.parametrize("kind", ["Host", "Router", "LispRouter"])
def test_what_each_kind_forwards(kind: str) -> None:
    seen = in_a_box(f"""
from nodes.kinds.lisp_router import LispRouter
node = {kind}("n")
read = lambda name: int(node.cmd(f"cat /proc/sys/net/ipv4/{{name}}"))
print(json.dumps({{"forward": read("ip_forward"), "filter": read("conf/all/rp_filter")}}))
""")
    assert seen["forward"] == (1 if kind == "Router" else 0)
    if kind != "Host":
        assert seen["filter"] == 0
