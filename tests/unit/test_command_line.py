"""The command line as a process: Ctrl-C at any moment, output that cannot be written, words that ask for more."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*words: str, out: int = subprocess.PIPE, interrupted: bool = False) -> subprocess.CompletedProcess[str]:
    """Run a task; ``interrupted`` as `ci/lab` starts it, with Ctrl-C before Python had its first line."""

    def interrupt() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        os.kill(os.getpid(), signal.SIGINT)

    return subprocess.run(
        [sys.executable, str(REPOSITORY / "tasks.py"), *words],
        stdin=subprocess.DEVNULL,
        stdout=out,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=interrupt if interrupted else None,
        timeout=120,
    )


@pytest.mark.parametrize("words", [("validate", "two-dc"), ("show", "xtr1", "roles"), ("up", "not-there")])
def test_an_early_ctrl_c_is_a_word_and_130(words: tuple[str, ...]) -> None:
    done = run(*words, interrupted=True)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"ci/lab: {words[0]}: interrupted\n")


def test_ci_lab_keeps_ctrl_c_waiting() -> None:
    """From the start of Python on: there a signal would be a traceback out of an import."""
    assert 'exec env --block-signal=INT "$venv/bin/python"' in (REPOSITORY / "ci/lab").read_text()


@pytest.mark.parametrize("words", [("--help",), ("validate", "two-dc")])
def test_output_that_cannot_be_written_is_one_line(words: tuple[str, ...]) -> None:
    with open("/dev/full", "w") as full:
        done = run(*words, out=full.fileno())
    assert done.returncode == 1
    assert done.stderr == "ci/lab: output cannot be written: No space left on device\n"


def test_down_says_how_a_lab_is_named() -> None:
    done = run("down", "two-dc")
    assert (done.returncode, done.stderr) == (2, "ci/lab: down: a lab is named by --lab: ci/lab down --lab two-dc\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--json", "x.json", "--only"], "--only needs a value"),
        (["--only", "--json", "x.json"], "--only needs a value"),
        (["--only", "C19", "--json"], "--json needs a value"),
        (["--json", "x.json", "--jobs", "many"], "--jobs many: allowed is a whole number"),
        (["--json", "x.json", "--jobs="], "--jobs '': allowed is a whole number"),
    ],
)
def test_an_option_without_its_value_is_one_line(words: list[str], complaint: str) -> None:
    """Most of all where it would run everything instead."""
    done = run("conformance", *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ci/lab: conformance: {complaint}\n")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            ["--scenario", "mobilty"],
            "there is no scenario mobilty; scenarios are reachability, mobility (did you mean 'mobility'?)",
        ),
        (["--scenario", "x"], "there is no scenario x; scenarios are reachability, mobility"),
        (["--scenario", "mobility", "--topology", "two-dc"], "--topology is for the scenario reachability"),
        (["--topology", "two-dc", "--html", "x.html"], "--html is for the scenario mobility"),
        (
            ["--scenario", "mobility", "--html", "/not-there/x.html"],
            "--html /not-there/x.html: No such file or directory, allowed is a file that can be written",
        ),
        (["--html", "/tmp"], "--html /tmp: Is a directory, allowed is a file that can be written"),
    ],
)
def test_a_demo_that_means_nothing_is_one_line_and_2(words: list[str], complaint: str) -> None:
    """Before anything is booted."""
    done = run("demo", *words)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"ci/lab: demo: {complaint}\n")


def test_a_boot_goes_on_without_its_reader() -> None:
    """`ci/lab up two-dc 2>&1 | head -1`: the lab is not its reader's."""
    reading, writing = os.pipe()
    os.close(reading)
    boot = "from testbed.commands.labs import progress; say = progress(); say('one'); say('two'); print('is up')"
    done = subprocess.run(
        [sys.executable, "-c", boot], cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=writing, timeout=30
    )
    os.close(writing)
    assert (done.returncode, done.stdout) == (0, b"is up\n")
