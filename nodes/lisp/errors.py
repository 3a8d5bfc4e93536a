"""The protocol's errors. Each says what is wrong and where."""

from __future__ import annotations


class LispError(Exception):
    """The root of every error that :mod:`nodes.lisp` raises."""


class DecodeError(LispError):
    """A message cannot be read.

    Attributes:
        what: What is wrong, in words ("needs 4 bytes, 2 are left").
        where: The message and field it was found in ("Map-Request, ITR-RLOC 2").
    """

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{where}: {what}")
        self.what = what
        self.where = where


class ConfigError(LispError):
    """A node's configuration contradicts itself; the text names the key and what is allowed."""
