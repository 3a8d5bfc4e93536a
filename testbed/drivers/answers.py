"""What a router's own command prints, as the table that it stands for."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from testbed.client.channel import LabError
from testbed.drivers.driver import NotTold

_OF_LOCATORS = ("rloc", "priority", "weight", "state")
_NUMBERS = ("priority", "weight", "instance_id", "ttl_minutes")


class _Told(dict[str, Any]):
    """A row, or an object, of what a router tells; what is not in it, it does not tell."""

    def __init__(self, given: Mapping[str, Any], whose: str) -> None:
        super().__init__(given)
        self._whose = whose

    def __missing__(self, key: str) -> Any:
        raise NotTold(f"{self._whose} does not tell {key}")


def read_answer(output: str, pattern: str, whose: str) -> Any:
    """A table from what a command printed.

    Args:
        output: What it printed.
        pattern: The regular expression of its lines, or "" for JSON.
        whose: Whose answer it is, for the message about one that makes no sense.

    Returns:
        What JSON says, or a row for each EID. A key that is not there raises :class:`NotTold`: no router has to tell
        everything that ours does.

    Raises:
        LabError: It is no JSON.
    """
    if pattern:
        return [_Told(row, whose) for row in _rows(output, re.compile(pattern))]
    try:
        return json.loads(output, object_hook=lambda one: _Told(one, whose))
    except (ValueError, RecursionError) as error:
        begin = " ".join(output.split())[:60]
        raise LabError(f"{whose} is no JSON ({error}): it begins with {begin!r}") from None


def _rows(output: str, pattern: re.Pattern[str]) -> list[dict[str, Any]]:
    """Each line that matches is a row; those of one EID are one, with their locators together."""
    rows: dict[tuple[str | int, str | int], dict[str, Any]] = {}
    for number, found in enumerate(filter(None, map(pattern.search, output.splitlines()))):
        given: dict[str, Any] = {
            name: _value(name, text) for name, text in found.groupdict().items() if text is not None
        }
        locator = {name: given.pop(name) for name in _OF_LOCATORS if name in given and "rloc" in found.groupdict()}
        given.setdefault("instance_id", 0)
        key = (given.get("eid", number), given["instance_id"])
        row = rows.setdefault(key, given | ({"locators": []} if "rloc" in found.groupdict() else {}))
        if "rloc" in locator:
            row["locators"].append({"priority": 1, "weight": 100, **locator})
    return list(rows.values())


def _value(name: str, text: str) -> str | int:
    return int(text) if name in _NUMBERS and text.isdecimal() else text
