"""Templates in driver files: Jinja2, and every mistake told with the line that it stands in."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from testbed.language.problems import Problems
from testbed.words import one_of

if TYPE_CHECKING:
    import jinja2

_FILE = "<template>"  # what Jinja2 calls the file of a template that has none
_ALLOWED = "allowed are the values that testbed/drivers/README.md lists"


class Refused(Exception):  # noqa: N818 - the template says so, on purpose
    """A template cannot serve the node, and says why."""


@dataclass(frozen=True, slots=True)
class Template:
    """A template and where it stands.

    Attributes:
        text: As written.
        line: The line of its first line.
    """

    text: str
    line: int

    def check(self, known: Mapping[str, Any], label: str, problems: Problems) -> None:
        """Note mistakes of syntax, and names that nobody gives it."""
        import jinja2
        from jinja2 import meta

        try:
            tree = _environment().parse(self.text)
        except jinja2.TemplateSyntaxError as error:
            problems.add(self.line + error.lineno - 1, f"{label}: {error.message}", "allowed is a Jinja2 template")
            return
        for name in sorted(meta.find_undeclared_variables(tree) - known.keys()):
            line = next((at for at, text in enumerate(self.text.split("\n")) if name in text), 0)
            problems.add(self.line + line, f"{label}: there is no value '{name}'", one_of(sorted(known), name))

    def fill(self, values: Mapping[str, Any], label: str, problems: Problems) -> str:
        """Fill it in; a mistake is noted, and gives "".

        Raises:
            Refused: The template says that it cannot serve this node.
        """
        try:
            return _environment().from_string(self.text).render(values)
        except Refused:
            raise
        # Templates call filters and methods: whatever these raise is a mistake of the file's author.
        except Exception as error:
            frames = traceback.extract_tb(error.__traceback__)
            line = next((one.lineno for one in reversed(frames) if one.filename == _FILE and one.lineno), 1)
            words = " ".join(str(error).split()) or type(error).__name__
            problems.add(self.line + line - 1, f"{label}: {words}", _ALLOWED)
            return ""


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    made = jinja2.Environment(
        undefined=jinja2.StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    made.globals["refuse"] = _refuse
    return made


def _refuse(why: object) -> str:
    raise Refused(str(why))
