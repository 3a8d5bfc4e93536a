"""ci/lab in a checkout of its own: a real .venv, real pip on wheels made here, a stand-in for apt-get; no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
NOBODY = 65534
SECONDS = 300

TASKS = """
import json, os, sys
files = os.listdir("/proc/self/fd")
print(json.dumps({"arguments": sys.argv[1:], "cwd": os.environ["LAB_CWD"], "python": sys.prefix, "files": files}))
sys.exit(7 if "fail" in sys.argv else 0)
"""

# Stands in for a package manager: notes its call and whether services may start, and does as the file `exit` says.
APT_GET = """#!/bin/bash
printf '%s | %s\\n' "$*" "$(tail -n 1 /usr/sbin/policy-rc.d 2>/dev/null)" >>"$FAKE/calls"
if [[ $* == *install* ]]; then
    [[ -e $FAKE/exit ]] && echo "E: Unable to locate package" && exit 100
    [[ -e $FAKE/interrupt ]] && kill -INT 0 && sleep 5
    echo "Setting up made-up (1.0) ..."
    touch "$FAKE/installed"
    [[ -e $FAKE/service ]] && ln -s /x /etc/systemd/system/multi-user.target.wants/made-up.service
fi
exit 0
"""
DPKG_QUERY = """#!/bin/bash
[[ -e $FAKE/installed ]] && echo "made-up installed"
exit 0
"""


def make_wheel(folder: Path, name: str, version: str) -> None:
    """The smallest wheel that pip installs."""
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}.py", f"version = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")


@dataclass(frozen=True, slots=True)
class Checkout:
    """A checkout with the real ci/lab and small lists, and what surrounds it."""

    path: Path
    fake: Path

    def environment(self, **more: str) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "SUDO_"))}
        wheels = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.fake / "wheels"), "PIP_CONFIG_FILE": os.devnull}
        return kept | wheels | {"FAKE": str(self.fake), "PATH": f"{self.fake}/bin:/usr/bin:/bin"} | more

    def command(self, *arguments: str, options: tuple[str, ...] = ()) -> list[str]:
        # The guard on services goes to a directory that only this run sees at /usr/sbin and /etc/systemd.
        inside = (
            f'mount --bind "{self.fake}/sbin" /usr/sbin && mount --bind "{self.fake}/systemd" /etc/systemd && exec "$@"'
        )
        box = ["unshare", "--mount", "--propagation", "private", "bash", "-c", inside, "box"]
        return [*box, "bash", *options, str(self.path / "ci/lab"), *arguments]

    def lab(self, *arguments: str, trace: bool = False, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, options=("-x",) if trace else ()),
            env=self.environment(**more),
            cwd=self.fake,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )

    def calls(self) -> list[str]:
        file = self.fake / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def forget_debian_packages(self) -> None:
        (self.fake / "installed").unlink()
        (self.fake / "calls").unlink()

    def version(self, name: str) -> str:
        python = self.path / ".venv/bin/python"
        done = subprocess.run([python, "-c", f"import {name}; print({name}.version)"], capture_output=True, text=True)
        return done.stdout.strip()

    def pin(self, text: str) -> None:
        (self.path / "ci/constraints.txt").write_text(text)


def restore(saved: Path, place: Path) -> Checkout:
    """A copy of a saved state at the place where that state was made: a .venv counts at its own path only."""
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(saved, place, symlinks=True)
    # A space, because people have them in their paths.
    return Checkout(place / "a checkout", place / "fake")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("set-up") / "place"


@pytest.fixture(scope="module")
def saved_checkout(place: Path) -> Path:
    """A fresh clone, saved beside the place."""
    made = Checkout(place / "a checkout", place / "fake")
    (made.path / "ci/packages").mkdir(parents=True)
    shutil.copy2(REPOSITORY / "ci/lab", made.path / "ci/lab")
    (made.path / "ci/packages/build").write_text("# nothing\n")
    (made.path / "ci/packages/run").write_text("# a comment\n\nmade-up\n")
    (made.path / "ci/packages/test").write_text("")
    (made.path / "ci/packages/browser").write_text("")
    (made.path / "nodes").mkdir()
    (made.path / "nodes/one.py").write_text("")
    (made.path / "testbed").mkdir()
    (made.path / "tasks.py").write_text(TASKS)
    (made.path / "pyproject.toml").write_text(
        '[project]\ndependencies = ["small"]\n[project.optional-dependencies]\ntest = ["more"]\n'
    )
    made.pin("small==1.0\nmore==1.0\n")
    for folder in ("bin", "sbin", "systemd/system/multi-user.target.wants", "wheels"):
        (made.fake / folder).mkdir(parents=True)
    for name, version in (("small", "1.0"), ("small", "2.0"), ("more", "1.0")):
        make_wheel(made.fake / "wheels", name, version)
    for name, text in {"apt-get": APT_GET, "dpkg-query": DPKG_QUERY, "dpkg": "#!/bin/sh\n"}.items():
        (made.fake / "bin" / name).write_text(text)
        (made.fake / "bin" / name).chmod(0o755)
    return place.rename(place.with_name("fresh"))


@dataclass(frozen=True, slots=True)
class FirstRun:
    """The clone after its first run, saved beside the place, and what that run said."""

    saved: Path
    done: subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def first_run(place: Path, saved_checkout: Path) -> FirstRun:
    done = restore(saved_checkout, place).lab("exec", "h1", "--", "echo", "two  words", "", "$x '\"")
    assert done.returncode == 0, done.stderr
    return FirstRun(place.rename(place.with_name("ready")), done)


@pytest.fixture
def checkout(place: Path, saved_checkout: Path) -> Checkout:
    return restore(saved_checkout, place)


@pytest.fixture
def ready(place: Path, first_run: FirstRun) -> Checkout:
    return restore(first_run.saved, place)


def test_a_plain_user_gets_one_clear_line(checkout: Checkout) -> None:
    with (checkout.path / "ci/lab").open() as script:
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "bash", "-s", "--", "demo"],
            stdin=script,
            capture_output=True,
            text=True,
            cwd="/",
        )
    assert done.returncode in (1, 2)
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert "root" in line
    assert "sudo ci/lab demo" in line


def test_the_first_run_installs_what_is_missing_and_runs_the_task(ready: Checkout, first_run: FirstRun) -> None:
    said = json.loads(first_run.done.stdout)
    assert said["arguments"] == ["exec", "h1", "--", "echo", "two  words", "", "$x '\""]
    assert said["cwd"] == str(ready.fake)
    assert said["python"] == str(ready.path / ".venv")
    assert ready.version("small") == "1.0"
    assert [call.split(" | ")[1] for call in ready.calls()] == ["exit 101", "exit 101"]
    assert " update " in ready.calls()[0]
    assert ready.calls()[1].split(" | ")[0].endswith("install made-up")
    progress = first_run.done.stderr.splitlines()
    assert all(line.startswith("set-up: ") for line in progress)
    assert "set-up:   Setting up made-up" in progress
    assert "set-up:   Installing collected packages" in progress


def test_a_lab_does_not_need_what_tests_need(ready: Checkout) -> None:
    assert ready.version("more") == ""
    assert ready.lab("bench", "boot").returncode == 0
    assert ready.version("more") == "1.0"
    # And what is there is not taken away again, not even when other pins make .venv anew.
    assert ready.lab("status").stderr == ""
    assert ready.version("more") == "1.0"
    ready.pin((ready.path / "ci/constraints.txt").read_text() + "# another\n")
    assert "making .venv" in ready.lab("status").stderr
    assert ready.version("more") == "1.0"


def test_nothing_missing_starts_no_package_manager(ready: Checkout) -> None:
    before = ready.calls()
    done = ready.lab("status", trace=True)
    assert done.returncode == 0
    commands = [line.lstrip("+ ") for line in done.stderr.splitlines() if line.startswith("+")]
    assert any(command.startswith("dpkg-query") for command in commands)
    assert not [line for line in commands if line.startswith(("apt-get", "step", "set_up")) or " pip " in line]
    assert ready.calls() == before


def test_the_task_inherits_no_lock_and_its_status_is_ours(ready: Checkout) -> None:
    quiet = ready.lab("status")
    ready.forget_debian_packages()
    after_set_up = ready.lab("status")
    assert len(json.loads(after_set_up.stdout)["files"]) == len(json.loads(quiet.stdout)["files"])
    assert ready.lab("fail").returncode == 7


@pytest.mark.parametrize(("task", "asked"), [("demo", False), ("traffic", True), ("test", True)])
def test_a_task_asks_only_for_the_packages_that_it_needs(ready: Checkout, task: str, asked: bool) -> None:
    """What stands behind a package's name are the tasks that need it; the suite and the benches need every one."""
    (ready.path / "ci/packages/run").write_text("made-up\nextra traffic shell\n")
    done = ready.lab(task, trace=True)
    (query,) = [line for line in done.stderr.splitlines() if line.startswith("++") and "dpkg-query" in line][:1]
    words = query.split()
    assert "made-up" in words
    assert ("extra" in words) is asked


def test_a_read_only_checkout_that_needs_set_up_is_one_line(ready: Checkout) -> None:
    """Seen at another path, its .venv does not count; it must not be taken away either."""
    elsewhere = ready.fake / "elsewhere"
    elsewhere.mkdir()
    inside = 'mount --bind "$1" "$2" && mount -o remount,ro,bind "$2" && exec bash "$2/ci/lab" status'
    box = ["unshare", "--mount", "--propagation", "private", "bash", "-c", inside, "box"]
    command = [*box, str(ready.path), str(elsewhere)]
    done = subprocess.run(command, env=ready.environment(), capture_output=True, text=True, timeout=SECONDS)
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"ci/lab: set-up is needed, but {elsewhere} is read-only: ")
    assert (done.returncode, done.stdout) == (1, "")
    assert ready.lab("status").stderr == ""


@pytest.mark.parametrize("damage", ["other python", "package removed", "another place"])
def test_a_venv_that_is_not_ours_or_broken_is_made_anew(ready: Checkout, damage: str) -> None:
    venv = ready.path / ".venv"
    (site,) = venv.glob("lib/python3*/site-packages")
    match damage:
        case "other python":
            (venv / "bin/python").unlink()
            shutil.copy2("/usr/bin/python3", venv / "bin/python")
        case "package removed":
            (site / "small.py").unlink()
        case "another place":
            ready = Checkout(ready.path.rename(ready.path.with_name("moved")), ready.fake)
    left = ready.path / ".venv/left-over"
    left.touch()
    done = ready.lab("status")
    assert done.returncode == 0, done.stderr
    assert not left.exists()
    assert ready.version("small") == "1.0"
    assert ready.lab("status").stderr == ""


def test_a_failed_download_is_one_line_with_the_path_of_the_log(ready: Checkout) -> None:
    ready.pin("small==3.0\nmore==1.0\n")
    done = ready.lab("status")
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("set-up: ")]
    assert line.startswith("ci/lab: Python packages could not be installed")
    assert line.endswith(f"see {ready.path}/.cache/set-up.log")
    assert "small" in (ready.path / ".cache/set-up.log").read_text()
    # Nothing half-made counts as ready, and other pins make .venv anew.
    ready.pin("small==2.0\nmore==1.0\n")
    assert ready.lab("status").returncode == 0
    assert ready.version("small") == "2.0"


@pytest.mark.parametrize("ending", ["success", "failure", "Ctrl-C"])
def test_the_machines_own_policy_for_services_comes_back(ready: Checkout, ending: str) -> None:
    policy = ready.fake / "sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 42\n")
    ready.forget_debian_packages()
    if ending != "success":
        (ready.fake / ("exit" if ending == "failure" else "interrupt")).touch()
    process = subprocess.Popen(
        ready.command("status"),
        env=ready.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == {"success": 0, "failure": 1, "Ctrl-C": 130}[ending], errors
    assert [call.split(" | ")[1] for call in ready.calls()] == ["exit 101", "exit 101"]
    assert policy.read_text() == "#!/bin/sh\nexit 42\n"
    assert list((ready.fake / "sbin").iterdir()) == [policy]
    if ending == "failure":
        (line,) = [line for line in errors.splitlines() if not line.startswith("set-up: ")]
        assert line.startswith("ci/lab: Debian packages could not be installed (E: Unable to locate package)")
    for obstacle in ("exit", "interrupt"):
        (ready.fake / obstacle).unlink(missing_ok=True)
    assert ready.lab("status").returncode == 0


def test_a_guard_left_by_a_killed_run_is_taken_away(ready: Checkout) -> None:
    guard = ready.fake / "sbin/policy-rc.d"
    guard.write_text("#!/bin/sh\n# lisp-testbed: left behind\nexit 101\n")
    guard.with_name("policy-rc.d.kept-by-lab").write_text("#!/bin/sh\nexit 42\n")
    (ready.path / ".cache/services-guarded").touch()
    assert ready.lab("status").returncode == 0
    assert guard.read_text() == "#!/bin/sh\nexit 42\n"
    assert list((ready.fake / "sbin").iterdir()) == [guard]


def test_a_service_that_a_package_enables_is_disabled_again(ready: Checkout) -> None:
    enabled = ready.fake / "systemd/system/multi-user.target.wants"
    (enabled / "mine.service").symlink_to("/x")
    ready.forget_debian_packages()
    (ready.fake / "service").touch()
    assert ready.lab("status").returncode == 0
    assert [link.name for link in enabled.iterdir()] == ["mine.service"]


def test_under_sudo_the_files_belong_to_the_caller(checkout: Checkout) -> None:
    done = checkout.lab("status", SUDO_UID=str(NOBODY), SUDO_GID=str(NOBODY))
    assert done.returncode == 0, done.stderr
    made = [checkout.path / ".venv", checkout.path / ".cache", *checkout.path.rglob("__pycache__")]
    files = [file for folder in made for file in [folder, *folder.rglob("*")]]
    assert len(files) > 20
    assert {file.lstat().st_uid for file in files} == {NOBODY}
    assert (checkout.path / "nodes/__pycache__").is_dir()
    # Links inside are given away, never what they point at.
    assert Path("/usr/bin/python3").stat().st_uid == 0


def test_two_set_ups_at_the_same_time_do_not_disturb_each_other(checkout: Checkout) -> None:
    started = [
        subprocess.Popen(
            checkout.command(task),
            env=checkout.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for task in ("status", "ping")
    ]
    ended = [process.communicate(timeout=SECONDS) for process in started]
    assert [process.returncode for process in started] == [0, 0], ended
    assert [json.loads(output)["arguments"] for output, _ in ended] == [["status"], ["ping"]]
    assert sum("making .venv" in errors for _, errors in ended) == 1
    assert sum("waiting for another set-up" in errors for _, errors in ended) == 1


@pytest.mark.parametrize(
    ("task", "compiler", "said"),
    [
        ("up", "print('never seen')", []),
        ("up", "import sys\nprint('as it says: see x.log', file=sys.stderr)\nsys.exit(1)", ["as it says: see x.log"]),
        ("status", "raise SystemExit(1)", []),
    ],
)
def test_set_up_compiles_for_labs_and_goes_on_without(
    ready: Checkout, task: str, compiler: str, said: list[str]
) -> None:
    ready.forget_debian_packages()
    (ready.path / "nodes/dataplane/bpf").mkdir(parents=True)
    (ready.path / "nodes/dataplane/bpf/compiler.py").write_text(f"open('compiled', 'w').close()\n{compiler}\n")
    done = ready.lab(task)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "data plane" in line]
    assert lines == [f"set-up: no data plane in the kernel: {line}" for line in said]
    assert (ready.path / "compiled").exists() == (task == "up")
    assert done.stderr.splitlines()[-1] == "set-up: ready"
