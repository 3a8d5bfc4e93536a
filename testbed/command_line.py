"""The command line around invoke: exit statuses, the help of a task, and the mistakes that invoke would misread."""

from __future__ import annotations

import difflib
import errno
import functools
import inspect
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from invoke import Collection, Context, Exit, Program, Task
from invoke import task as invoke_task


def task(
    *,
    help: dict[str, str] | None = None,
    positional: tuple[str, ...] = (),
    iterable: tuple[str, ...] = (),
    name: str | None = None,
) -> Any:
    """An invoke task whose errors are one line and whose integer result is the exit status."""

    def wrap(body: Callable[..., int | None]) -> Any:
        @functools.wraps(body)
        def run(context: Context, *arguments: Any, **options: Any) -> None:
            from testbed import commands  # noqa: F401 - Ctrl-C comes when what every task needs is there
            from testbed.lab import LabError
            from testbed.load import TopologyError

            try:
                with _interruptible():
                    status = body(context, *arguments, **options)
            except TopologyError as error:
                raise Exit(str(error), code=2) from None
            except LabError as error:
                raise Exit(str(error), code=1) from None
            except KeyboardInterrupt:
                raise Exit("interrupted", code=130) from None
            if status:
                raise Exit(code=status)

        return invoke_task(run, help=help or {}, positional=list(positional), iterable=list(iterable), name=name)

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


def after_dashes() -> list[str]:
    """The words after `--`, unjoined: invoke would join them with spaces and lose their quoting."""
    return sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []


def _complaint(words: list[str], tasks: Collection) -> str | None:
    """What is wrong with the words before invoke sees them: it would misread them, or say too little."""
    task = words[0] if words else ""
    if task and not task.startswith("-") and task not in tasks.task_names:
        close = difflib.get_close_matches(task, tasks.task_names, 1)
        hint = f"did you mean {close[0]}?" if close else f"tasks are {', '.join(sorted([*tasks.task_names, 'test']))}"
        return f"there is no task {task}; {hint}"
    if task == "exec" and "--" not in words:
        return "exec: put -- before the command, for example: ci/lab exec h1 -- ping -c 1 192.168.2.11"
    if task == "down" and len(words) == 2 and not words[1].startswith("-"):
        return f"down: a lab is named by --lab: ci/lab down --lab {words[1]}"
    return _wrong_value(tasks[task], words[1:]) if task in tasks.task_names else None


def _wrong_value(task: Task[Any], words: list[str]) -> str | None:
    """Which option has no value, or no number: of the first invoke may say nothing, of the second a traceback."""
    words = words[: words.index("--")] if "--" in words else words
    flags = {
        f"--{name}".replace("_", "-") if len(name) > 1 else f"-{name}": argument
        for argument in task.get_arguments()
        for name in argument.names
    }
    for position, word in enumerate(words):
        flag, equals, value = word.partition("=")
        argument = flags.get(flag)
        if argument is None or not argument.takes_value:
            continue
        if not equals:
            value = words[position + 1] if position + 1 < len(words) else ""
        if not equals and (position + 1 == len(words) or value in flags):
            return f"{task.name}: {flag} needs a value"
        if argument.kind is int and not value.removeprefix("-").isdecimal():
            return f"{task.name}: {flag} {value}: allowed is a whole number"
    return None


def _help(name: str, tasks: Collection) -> str:
    """The help of one task: usage, meaning, example, arguments and options."""
    task = tasks[name]
    lines: dict[bool, list[tuple[str, str | None]]] = {True: [], False: []}
    usage = [name]
    for argument in task.get_arguments():
        flag = argument.name.strip("_").replace("_", "-")
        if argument.positional:
            usage.append(flag.upper())
            lines[True].append((flag.upper(), argument.help))
        else:
            lines[False].append((f"--{flag}" if argument.kind is bool else f"--{flag} {flag.upper()}", argument.help))
    usage += ["[OPTIONS]", *(["-- COMMAND"] if name == "exec" else [])]
    text = [f"Usage: ci/lab {' '.join(usage)}", "", inspect.cleandoc(task.__doc__ or "")]
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
        _forget_output()
        sys.exit(128 + signal.SIGPIPE)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _forget_output()
        sys.exit(f"ci/lab: output cannot be written: {error.strerror}")


def _perform(tasks: Collection) -> None:
    """Run a task as `ci/lab`: no tasks.py is searched for, so it works from any directory."""
    words = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    if not words or {"-h", "--help"} & set(words):
        named = [word for word in words if word in tasks.task_names]
        print(_help(named[0], tasks) if named else _overview(tasks))
    elif complaint := _complaint(sys.argv[1:], tasks):
        sys.exit(f"ci/lab: {complaint}")
    else:
        Program(namespace=tasks, name="ci/lab", binary="ci/lab", version="0.1.0").run()


def _forget_output() -> None:
    """Python must not try to flush it once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
