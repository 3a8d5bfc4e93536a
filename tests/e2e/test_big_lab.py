"""A lab of hundreds of LISP sites boots."""

from __future__ import annotations

from pathlib import Path

import pytest

from testbed.lab import Lab

SITES = 320


@pytest.mark.exclusive
def test_320_sites_boot(tmp_path: Path) -> None:
    """Far more daemons than the socket to the fork server has room for at once; some 7 s and 1.8 GB."""
    world = ["address-space: {rloc: 10.0.0.0/8, eid: 172.16.0.0/12}", "core: {routers: core}"]
    world += ["mapping-system: {msmr: {roles: msmr, links: core}}", "sites:"]
    for number in range(1, SITES + 1):
        router = f"{{x{number}: {{roles: xtr, links: core}}}}"
        world.append(f"  s{number}: {{key: k{number}, routers: {router}, hosts: h{number}}}")
    (tmp_path / "big.yaml").write_text("\n".join(world))
    with Lab(tmp_path / "big.yaml", run_dir=tmp_path / "big") as lab:
        assert [node["state"] for node in lab.status()["nodes"]].count("ready") == SITES + 1
        done = lab.run("h1", ["ping", "-c", "1", "-W", "10", str(lab[f"h{SITES}"].address)])
        assert done.returncode == 0, done.stdout
