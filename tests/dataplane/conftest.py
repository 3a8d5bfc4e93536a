"""What the tests of the tc programs share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.dataplane.router import Router, a_router, why_not


@pytest.fixture(scope="module")
def router() -> Iterator[Router]:
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with a_router() as made:
        yield made
