"""Whatever is killed at whatever moment of a boot, nothing of the lab is left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BOX = ["unshare", "--net", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child", "--mount-proc"]

# Everything that can be read-only becomes so; the run directory is a file system of its own.
READ_ONLY = r"""
set -e
mount -t tmpfs tmpfs "$1"
ip link set lo up
mkdir "$1/runs"
findmnt -rno TARGET,FSTYPE | while read -r target type; do
    case "$type" in proc|sysfs|devpts|devtmpfs|cgroup*|mqueue|nsfs) continue;; esac
    [ "$target" = "$1" ] || mount -o remount,bind,ro "$target" 2>/dev/null || echo "cannot protect $target" >&2
done
mount --make-rshared /  # as systemd has it: a mount made inside must not come out
export PYTHONDONTWRITEBYTECODE=1
exec "$2" tests/e2e/crash_driver.py "$1/runs/crash" "$3"
"""


@pytest.mark.parametrize("victim", ["client", "init", "lab", "ctrl-c"])
def test_a_kill_at_ten_moments_of_boot_and_while_running_leaves_nothing(victim: str, tmp_path: Path) -> None:
    """Each boot reuses the run directory that the killed one left, so that is shown to work as well."""
    done = subprocess.run(
        [*BOX, "bash", "-c", READ_ONLY, "bash", str(tmp_path), sys.executable, victim],
        cwd=ROOT,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    results = seen["results"]
    assert [one for one in results if one["left"]] == [], seen
    during_boot = [one["moment"] for one in results if one["moment"] is not None]
    assert len(during_boot) == 10, seen
    assert len(results) >= 12, seen  # and at least twice while it ran
