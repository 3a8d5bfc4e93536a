"""A host that was moved says where it is, while hundreds of others do."""

from __future__ import annotations

import errno
from contextlib import nullcontext
from ipaddress import ip_interface
from types import SimpleNamespace
from typing import Any

import pytest

from nodes.kinds import announcement
from nodes.kinds.announcement import Announcement

MAC = "02:00:00:00:00:01"


class Wire:
    """A socket whose queue is full a number of times."""

    def __init__(self, errors: list[int]) -> None:
        self.errors, self.sent = errors, []

    def bind(self, _address: Any) -> None:
        pass

    def send(self, frame: bytes) -> None:
        if self.errors:
            raise OSError(self.errors.pop(0), "no")
        self.sent.append(frame)


def said(monkeypatch: pytest.MonkeyPatch, errors: list[int]) -> list[bytes]:
    """What a host says for its two addresses."""
    wire = Wire(errors)
    monkeypatch.setattr(announcement, "inside", lambda _namespace: nullcontext())
    monkeypatch.setattr(announcement.socket, "socket", lambda *_arguments: wire)
    monkeypatch.setattr(announcement.time, "sleep", lambda _seconds: None)
    addresses = (ip_interface("192.0.2.1/24"), ip_interface("2001:db8::1/64"))
    Announcement(SimpleNamespace(namespace=0), SimpleNamespace(name="eth0", mac=MAC, addresses=addresses)).send()
    return wire.sent


def test_a_full_queue_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch, [errno.ENOBUFS] * 3) == said(monkeypatch, [])
    assert len(said(monkeypatch, [])) == 2


@pytest.mark.parametrize("errors", [[errno.ENETDOWN], [errno.ENOBUFS] * 1000])
def test_no_other_failure_is(monkeypatch: pytest.MonkeyPatch, errors: list[int]) -> None:
    with pytest.raises(OSError, match="no"):
        said(monkeypatch, errors)
