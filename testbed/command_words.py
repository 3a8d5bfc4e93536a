"""What is wrong with the words of a command line, said before invoke misreads them."""

from __future__ import annotations

from typing import Any

from invoke import Argument, Collection, Task

from testbed.words import echoed, one_of

_OPTIONS = ("--help", "-h", "--list", "-l", "--version", "-V")
"""What stands without a task."""
_MOST_DIGITS = 9


def complaint(words: list[str], tasks: Collection) -> str | None:
    """One line, or None if invoke may have the words.

    Args:
        words: All of them, from the task on.
        tasks: The tasks.
    """
    name = words[0]
    if name.startswith("-"):
        if name not in _OPTIONS:
            return f"there is no option {echoed(name)}; {one_of(_OPTIONS, name, 'options')}"
        return f"{echoed(words[1])} is too much: ci/lab {name}" if len(words) > 1 else None
    if name not in tasks.task_names:
        known = sorted([*tasks.task_names, "test"])
        return f"there is no task {echoed(name)}; {one_of(known, name, 'tasks', len(known))}"
    if name == "exec" and "--" not in words:
        return "exec: put -- before the command, for example: ci/lab exec h1 -- ping -c 1 192.168.2.11"
    own = words[1 : words.index("--")] if "--" in words else words[1:]
    wrong = _wrong(tasks[name], own)
    return f"{name}: {wrong}" if wrong else None


def usage(task: Task[Any]) -> str:
    """How a task is called: `ci/lab exec NODE [OPTIONS] -- COMMAND`."""
    names = [_flag(argument).upper() for argument in task.get_arguments() if argument.positional]
    return " ".join(["ci/lab", task.name, *names, "[OPTIONS]", *(["-- COMMAND"] if task.name == "exec" else [])])


def _flag(argument: Argument) -> str:
    """An argument's name as people write it."""
    return argument.names[0].strip("_").replace("_", "-")


def _wrong(task: Task[Any], words: list[str]) -> str | None:
    """What is wrong with the words behind a task's name."""
    arguments = task.get_arguments()
    flags = {f"--{_flag(one)}": one for one in arguments}
    flags |= {f"-{name}": one for one in arguments for name in one.names if len(name) == 1}
    positions = [one for one in arguments if one.positional]
    placed = []
    given: set[Argument] = set()
    waiting = iter(words)
    for word in waiting:
        flag, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            placed.append(word)
            continue
        argument = flags.get(flag)
        if argument is None:
            return f"there is no option {echoed(flag)}; {one_of([one for one in flags if one[2:]], flag, 'options')}"
        if not argument.takes_value:
            if equals:
                return f"{flag} takes no value"
            continue
        if not equals:
            following = next(waiting, None)
            if following is None or following in flags:
                return f"{flag} needs a value"
            value = following
        if argument in given and argument.kind is not list:
            return f"--{_flag(argument)} is given twice"
        given.add(argument)
        digits = value.removeprefix("-")
        if argument.kind is int and not (digits.isascii() and digits.isdecimal() and len(digits) <= _MOST_DIGITS):
            return f"{flag} {echoed(value)}: allowed is a whole number"
        if argument in positions:
            positions.remove(argument)
    if len(placed) > len(positions):
        too_much = echoed(placed[len(positions)])
        if not positions and "--lab" in flags and task.name:
            return f"a lab is named by --lab: ci/lab {task.name} --lab {too_much}"
        return f"{too_much} is too much: {usage(task)}"
    if missing := [_flag(one).upper() for one in positions[len(placed) :]]:
        return f"say {' and '.join(missing)}: {usage(task)}"
    return None
