"""The language as a JSON Schema, for editors that complete keys and mark mistakes while a file is written."""

from __future__ import annotations

import json
from typing import Any

from testbed.language.scalars import NAME
from testbed.language.shapes import Listed, Many, Named, One, Row, Shape, Table, keys_of
from testbed.language.tables import TopologyRow


def schema_text() -> str:
    """The schema of a topology file, as JSON text."""
    definitions: dict[str, Any] = {}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A topology of the LISP data-centre testbed",
        **_table(TopologyRow, definitions),
        "$defs": definitions,
    }
    return json.dumps(schema, indent=1) + "\n"


def title_of(row: type[Row]) -> str:
    """The name of a table in the schema and in the documentation."""
    return row.__name__.removesuffix("Row")


def _table(row: type[Row], definitions: dict[str, Any]) -> dict[str, Any]:
    keys = keys_of(row)
    found: dict[str, Any] = {
        "description": (row.__doc__ or "").splitlines()[0],
        "type": "object",
        "properties": {name: {"description": key.doc, **_shape(key.shape, definitions)} for name, key in keys.items()},
        "additionalProperties": False,
    }
    required = [name for name, key in keys.items() if key.required]
    if required:
        found["required"] = required
    return found


def _reference(row: type[Row], definitions: dict[str, Any]) -> dict[str, Any]:
    title = title_of(row)
    if title not in definitions:
        definitions[title] = {}  # a place in the order before those that it needs
        definitions[title] = _table(row, definitions)
    return {"$ref": f"#/$defs/{title}"}


def _shape(shape: Shape, definitions: dict[str, Any]) -> dict[str, Any]:
    """What may stand in one place of a file."""
    if isinstance(shape, One):
        return dict(shape.of.schema)
    if isinstance(shape, Many):
        several = {"type": "array", "items": dict(shape.of.schema), "minItems": shape.exactly or 1}
        if shape.exactly:
            return {**several, "maxItems": shape.exactly}
        return {"anyOf": [dict(shape.of.schema), several]}
    if isinstance(shape, Table):
        whole = _reference(shape.row, definitions)
        if not shape.short:
            return whole
        return {"anyOf": [_shape(keys_of(shape.row)[shape.short].shape, definitions), whole]}
    if isinstance(shape, Listed):
        return {"type": "array", "items": _shape(shape.of, definitions)}
    if isinstance(shape, Named):
        whole = _reference(shape.row, definitions)
        named = {"type": "object", "propertyNames": dict(NAME.schema), "minProperties": 1}
        if any(key.required for key in keys_of(shape.row).values()):
            return {**named, "additionalProperties": whole}
        named["additionalProperties"] = {"anyOf": [whole, {"type": "null"}]}
        names = {"type": "array", "items": dict(NAME.schema), "minItems": 1}
        return {"anyOf": [dict(NAME.schema), names, named]}
    raise TypeError(f"{type(shape).__name__} has no schema")
