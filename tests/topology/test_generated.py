"""What is generated from the language is current, and says what the reader says."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from testbed.generate import generated
from testbed.language.schema import schema_text
from testbed.language.shapes import keys_of
from testbed.language.tables import SiteRow
from testbed.load import SHIPPED, load, shipped
from tests.topology.json_schema import valid
from tests.topology.mistakes import BASE, REPLACEMENTS, spoil

SCHEMA = json.loads(schema_text())


def test_generated_files_are_current() -> None:
    for name, text in generated():
        assert (SHIPPED / name).read_text(encoding="utf-8") == text, f"ci/lab generate writes {name} anew"


@pytest.mark.parametrize("name", shipped())
def test_schema_accepts_what_the_reader_accepts(name: str) -> None:
    for text in ((SHIPPED / f"{name}.yaml").read_text(encoding="utf-8"), load(name).source):
        assert valid(_read(text), SCHEMA, SCHEMA)


SHAPES = (
    "unknown key",
    "unknown key at the top",
    "unknown key of a link",
    "required key missing",
    "no core",
    "list for a mapping",
    "text for a mapping",
    "mapping for a value",
    "text for a boolean",
    "number for text",
    "number for a name",
    "number out of range",
    "name too long",
    "unknown role",
    "no prefix length",
    "bad MAC address",
    "one end of a link",
)


@pytest.mark.parametrize("case", SHAPES)
def test_schema_refuses_what_has_the_wrong_shape(case: str) -> None:
    (replacements,) = [pairs for name, *pairs in REPLACEMENTS if name == case]
    assert valid(_read(BASE), SCHEMA, SCHEMA)
    assert not valid(_read(spoil(replacements)), SCHEMA, SCHEMA)


def test_the_page_knows_every_world_and_every_key() -> None:
    page = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for name in shipped():
        assert f"| [{name}.yaml]({name}.yaml) | {load(name).title} |" in page
    for key in keys_of(SiteRow):
        assert f"`{key}`" in page
    headings = {re.sub("`", "", line[4:]).lower().replace(" ", "-") for line in page.splitlines() if line[:4] == "### "}
    assert set(re.findall(r"\(#([a-z-]+)\)", page)) <= headings | {"values"}


def _read(text: str) -> Any:
    return yaml.safe_load(text)
