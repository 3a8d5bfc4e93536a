"""As much of JSON Schema as ours uses, so that the test needs no library for it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_TYPES: Mapping[str, type | tuple[type, ...]] = {
    "object": dict,
    "array": list,
    "string": str,
    "number": (int, float),
    "integer": int,
    "null": type(None),
}
KNOWN = {"$schema", "$defs", "$ref", "title", "description", "type", "enum", "anyOf"}
KNOWN |= {"properties", "propertyNames", "additionalProperties", "required", "minProperties"}
KNOWN |= {"items", "minItems", "maxItems", "pattern", "minLength", "minimum", "maximum"}


def valid(value: Any, schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    """Whether ``value`` is what ``schema`` describes; ``root`` holds the definitions."""
    assert set(schema) <= KNOWN, f"not understood: {set(schema) - KNOWN}"
    if "$ref" in schema:
        return valid(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema:
        return any(valid(value, one, root) for one in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    types = [schema["type"]] if isinstance(schema["type"], str) else schema["type"]
    if isinstance(value, bool) or "boolean" in types:
        return isinstance(value, bool) and "boolean" in types
    if not any(isinstance(value, _TYPES[one]) for one in types):
        return False
    if isinstance(value, dict):
        return _object(value, schema, root)
    if isinstance(value, list):
        low, high = schema.get("minItems", 0), schema.get("maxItems", len(value))
        return low <= len(value) <= high and all(valid(one, schema["items"], root) for one in value)
    if isinstance(value, str):
        return len(value) >= schema.get("minLength", 0) and bool(re.search(schema.get("pattern", ""), value))
    return value is None or schema.get("minimum", value) <= value <= schema.get("maximum", value)


def _object(value: dict[str, Any], schema: Mapping[str, Any], root: Mapping[str, Any]) -> bool:
    if len(value) < schema.get("minProperties", 0) or not set(schema.get("required", ())) <= set(value):
        return False
    for name, inner in value.items():
        if not valid(name, schema.get("propertyNames", {"type": "string"}), root):
            return False
        rule = schema.get("properties", {}).get(name, schema["additionalProperties"])
        if rule is False or not valid(inner, rule, root):
            return False
    return True
