"""The command line around invoke: exit statuses, the line that says what is wrong, the help of a task.

The exit status is 2 where what was typed cannot be, and nothing was done; 1 where something does not work, or is not as
it should be. Both say why in one line, `ci/lab: TASK: …`; a mistake in a file in one that begins with `FILE:LINE:`.
"""

from __future__ import annotations

import errno
import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO

from invoke import Collection, Context, Exit, Program
from invoke import task as invoke_task

from testbed.command_words import complaint, usage
from testbed.words import printable, shortened

_LONGEST = 1500
_HELP = {
    "lab": "name of the running lab; needed only when several run",
    "json": "print JSON instead of the table",
    "dataplane": "ebpf, python or auto on all LISP nodes, whatever the topology says",
}
"""What options mean wherever they are, unless a task says something else."""


def task(
    *,
    help: dict[str, str] | None = None,
    positional: tuple[str, ...] = (),
    iterable: tuple[str, ...] = (),
    name: str | None = None,
) -> Any:
    """An invoke task whose errors are one line and whose integer result is the exit status."""

    def wrap(body: Callable[..., int | None]) -> Any:
        named = name or body.__name__

        @functools.wraps(body)
        def run(context: Context, *arguments: Any, **options: Any) -> None:
            from testbed import commands  # noqa: F401 - Ctrl-C comes when what every task needs is there
            from testbed.lab import InputError, LabError
            from testbed.load import TopologyError

            try:
                with _interruptible():
                    status = body(context, *arguments, **options)
            except TopologyError as error:
                raise Exit(str(error), code=2) from None
            except LabError as error:
                raise Exit(_line(f"{named}: {error}"), code=2 if isinstance(error, InputError) else 1) from None
            except KeyboardInterrupt:
                raise Exit(_line(f"{named}: interrupted"), code=130) from None
            if status:
                raise Exit(code=status)

        meanings = {key: words for key, words in _HELP.items() if key in inspect.signature(body).parameters}
        return invoke_task(
            run, help=meanings | (help or {}), positional=list(positional), iterable=list(iterable), name=name
        )

    return wrap


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C in, which `ci/lab` keeps waiting: in the middle of an import it would be a traceback, or be lost."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _line(words: str) -> str:
    """The one line that says what is wrong, of a length that people read."""
    return f"ci/lab: {printable(shortened(words, _LONGEST))}"


def after_dashes() -> list[str]:
    """The words after `--`, unjoined: invoke would join them with spaces and lose their quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _help(name: str, tasks: Collection) -> str:
    """The help of one task: usage, meaning, example, arguments and options."""
    task = tasks[name]
    lines: dict[bool, list[tuple[str, str | None]]] = {True: [], False: []}
    for argument in task.get_arguments():
        flag = argument.name.strip("_").replace("_", "-")
        if argument.positional:
            lines[True].append((flag.upper(), argument.help))
        else:
            lines[False].append((f"--{flag}" if argument.kind is bool else f"--{flag} {flag.upper()}", argument.help))
    text = [f"Usage: {usage(task)}", "", inspect.cleandoc(task.__doc__ or "")]
    for positional, title in ((True, "Arguments:"), (False, "Options:")):
        if lines[positional]:
            width = max(len(left) for left, _ in lines[positional])
            text += ["", title, *(f"  {left:{width}}  {right or ''}".rstrip() for left, right in lines[positional])]
    return "\n".join(text)


def _overview(tasks: Collection) -> str:
    """Every task in a line."""
    width = max(map(len, tasks.task_names))
    lines = [f"  {name:{width}}  {(tasks[name].__doc__ or '').splitlines()[0]}" for name in sorted(tasks.task_names)]
    head = ["Usage: ci/lab TASK [ARGUMENTS] [OPTIONS]", "       ci/lab TASK --help", ""]
    test = f"  {'test':{width}}  Check style and types, then run the whole suite; what follows goes to pytest."
    return "\n".join([*head, *sorted([*lines, test])])


def run(tasks: Collection) -> None:
    """Run the task that the words name; of output that cannot be written, say so in a line."""
    try:
        try:
            _perform(tasks)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone.
        forget(sys.stdout)
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        forget(sys.stdout)
        sys.exit(f"ci/lab: output cannot be written: {error.strerror}")


def _perform(tasks: Collection) -> None:
    """Run a task as `ci/lab`: no tasks.py is searched for, so it works from any directory."""
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        named = [word for word in words if word in tasks.task_names]
        print(_help(named[0], tasks) if named else _overview(tasks))
    elif wrong := complaint(sys.argv[1:], tasks):
        print(_line(wrong), file=sys.stderr)
        sys.exit(2)
    else:
        Program(namespace=tasks, name="ci/lab", binary="ci/lab", version="0.1.0").run()


def forget(stream: TextIO) -> None:
    """Nobody reads an output any more: what still goes there is lost, and Python has nothing to flush at its end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
