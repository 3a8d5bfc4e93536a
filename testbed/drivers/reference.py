"""Driver files for people: README.md here, from what the reader itself goes by."""

from __future__ import annotations

from testbed.drivers.driver import driver, shipped
from testbed.drivers.table import DriverRow
from testbed.drivers.values import PARAMETERS, VALUES
from testbed.language.reference import tables_text
from testbed.language.scalars import LAB_NAME, TEXT

_INTRODUCTION = """\
# Driver files

A driver file says how a LISP router that is not ours is configured from a topology, started, known to be ready, asked
and stopped. `ci/lab up FILE --implementation NODE=my-router.yaml` runs it on a node, `implementation: my-router.yaml`
of a node in a topology file as well; `ci/lab conformance --implementation my-router.yaml --json found.json` judges it.
The README of the repository, "Test your own router", shows one from beginning to end.

This page is generated (`ci/lab generate`) from what the reader itself goes by.

## Those that come with the testbed

| name | what it is |
|---|---|"""

_RULES = """\
## What holds everywhere

- Every mistake is told, all at once, each in one line: `file:line: what is wrong, what is allowed`; exit status 2.
- Texts, commands and paths are [Jinja2](https://jinja.palletsprojects.com) templates over the values below. A value
  that is not there is a mistake. `{{ refuse("why") }}` says that the router cannot be this node.
- The command runs as root in the node's network namespace, in the node's directory, with a `/sys` of the node, and has
  to stay in the foreground. What it writes to standard output and standard error is `router.log` there.
- Its end is noticed. Whatever it started ends with it, even what made itself a daemon; and all of it with the lab.
- If it does not know the Algorithm ID or the Key ID of a site, the site's key becomes one that all know which use it,
  and a line says so.
- The core completes checksums and segments before they reach it, as a wire does.
- What cannot be asked of it is not tested, nothing else: tests look at packets wherever these show the same.
- Without `time-scale: true` it is not tested in worlds whose clocks run faster than real time.

## Values

| value | what it is |
|---|---|"""


def drivers_text() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    parts += [f"| [{name}](shipped/{path.name}) | {driver(name).title} |" for name, path in shipped().items()]
    parts += ["", _RULES]
    parts += [f"| `{name}` | {about} |" for name, about in VALUES.items()]
    parts += ["", "A query knows its own name as `what`; " + _parameters() + ".\n", "## Keys", ""]
    keys = tables_text(DriverRow)
    for shape in (LAB_NAME, TEXT):  # they are explained on another page
        words = shape.allowed.removeprefix("allowed is ").removeprefix("allowed are ")
        keys = keys.replace(f"[{shape.name}](#values)", words)
    return "\n".join([*parts, "Keys in **bold** must be given.\n", keys]) + "\n"


def _parameters() -> str:
    return ", ".join(
        f"`{what}` has {' '.join(f'`{name}`' for name in names)} besides" for what, names in PARAMETERS.items()
    )
