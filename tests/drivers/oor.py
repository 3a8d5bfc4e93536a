"""Configurations of OpenOverlayRouter, read as it reads them: statements and blocks, in whatever order and spacing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

Statement = tuple[str, Any]

_TOKEN = re.compile(r"\s*(?:#[^\n]*\s*)*([={},]|[^\s={},#]+)")
_NOT_MEANING = frozenset({"debug"})
_DEFAULTS = {"iid": "0"}


def read(text: str) -> list[Statement]:
    """Each statement: name and value, a list of values, or for a block a tuple of what is in it."""
    statements, rest = _block(_TOKEN.findall(text.rstrip()))
    assert not rest, rest
    return list(statements)


def _block(tokens: list[str]) -> tuple[tuple[Statement, ...], list[str]]:
    found: list[Statement] = []
    while tokens and tokens[0] != "}":
        name, after, *tokens = tokens
        if after == "=":
            if tokens[0] == "{":
                end = tokens.index("}")
                found.append((name, [one for one in tokens[1:end] if one != ","]))
                tokens = tokens[end + 1 :]
            else:
                found.append((name, tokens[0]))
                tokens = tokens[1:]
        else:
            assert after == "{", (name, after)
            inner, tokens = _block(tokens)
            assert tokens[0] == "}", name
            found.append((name, inner))
            tokens = tokens[1:]
    return tuple(found), tokens


def meaning(text: str, interfaces: dict[str, str]) -> list[Any]:
    """What a configuration says, whatever its order: interfaces by what they are called in ``interfaces``."""
    return sorted(map(repr, _meant(read(text), interfaces)))


def _meant(statements: Iterator[Statement] | list[Statement] | tuple[Statement, ...], names: dict[str, str]) -> Any:
    for name, value in statements:
        if name in _NOT_MEANING or (isinstance(value, str) and value == _DEFAULTS.get(name)):
            continue
        if isinstance(value, tuple):
            yield name, sorted(map(repr, _meant(value, names)))
        else:
            yield name, names.get(value, value) if name in ("interface", "control-iface") else value
