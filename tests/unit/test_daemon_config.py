"""The configuration of a node: what contradicts itself is a ConfigError, wherever it comes from."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nodes.lisp.config import NodeConfig, Role, Subscriber
from nodes.lisp.engine import Engine
from nodes.lisp.errors import ConfigError
from tests.engine.world import DC1, KEY, XTR1, xtr

GOOD = xtr("xtr1", XTR1, DC1)


@pytest.mark.parametrize("good", ["", "0123456789abcdefABCDEF0123456789"])
def test_an_xtr_id_is_32_hexadecimal_digits_or_none(good: str) -> None:
    """C22."""
    config = NodeConfig.from_json(replace(GOOD, xtr_id=good).to_json())
    assert config.xtr_id == good
    assert Engine(config, lambda _bits: 0, 0.0, start_time=0, durable={}, request_port=5000).start(0.0)


@pytest.mark.parametrize(
    ("key", "wrong"),
    [
        ("xtr_id", "xyz"), ("xtr_id", "12"), ("xtr_id", "0" * 33), ("xtr_id", "g" * 32), ("xtr_id", 5),
        ("xtr_id", None), ("xtr_id", "00 " * 10 + "00"), ("xtr_id", "٣" * 32), ("site_id", -1),
        ("site_id", 1 << 64), ("site_id", "1"),
    ],
)  # fmt: skip
def test_a_malformed_identity_is_a_configuration_error(key: str, wrong: Any) -> None:
    """C22: found when the configuration is read, not when the engine is built or the first Map-Register encoded."""
    text = json.dumps(json.loads(GOOD.to_json()) | {key: wrong})
    with pytest.raises(ConfigError, match=f"xtr1: {key} "):
        NodeConfig.from_json(text)
    with pytest.raises(ConfigError, match=f"xtr1: {key} "):
        replace(GOOD, **{key: wrong})


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"subscribers": (Subscriber("12", 1, ()),)}, "xtr_id of a subscriber is '12'"),
        ({"subscribers": (Subscriber("0" * 32, 1, ()),)}, f"keys of subscriber {'0' * 32} is empty"),
        ({"subscription_keys": (KEY,), "xtr_id": ""}, "xtr_id is empty"),
    ],
)
def test_who_subscribes_has_an_xtr_id_and_a_secret(changes: dict[str, Any], what: str) -> None:
    """M18: RFC 9437 sections 3 and 7.1; a Map-Resolver needs no secret."""
    roles = frozenset({Role.MAP_SERVER, Role.ITR, Role.MAP_RESOLVER})
    with pytest.raises(ConfigError, match=f"xtr1: {what}"):
        replace(GOOD, roles=roles, **changes)
    assert replace(GOOD, roles=frozenset({Role.MAP_RESOLVER}), subscribers=(Subscriber("0" * 32, 1, ()),))
