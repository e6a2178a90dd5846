"""JSON Schema through jsonschema-rs."""

from typing import Any

import pytest

from heliograph.adapters.schema import JsonSchema, SchemaError, compile_schemas

ORDER = {
    "type": "object",
    "required": ["order_id"],
    "properties": {"total": {"type": "number"}, "email": {"type": "string", "format": "email"}},
}


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"order_id": 1, "total": 2.5}, None),
        ({}, '"order_id" is a required property'),
        ({"order_id": 1, "total": "2.5"}, 'total: "2.5" is not of type "number"'),
        ({"order_id": 1, "email": "nobody"}, 'email: "nobody" is not a "email"'),
    ],
)
def test_a_violation_is_one_sentence_with_its_place(value: Any, sentence: str | None) -> None:
    assert JsonSchema(ORDER)(value) == sentence


def test_a_long_value_does_not_flood_the_sentence() -> None:
    assert len(JsonSchema({"type": "object"})("x" * 30_000) or "") < 400


@pytest.mark.parametrize(
    "schema", [{"type": "nope"}, {"$ref": "https://x.example/y.json"}, {"$ref": "#/none"}, [], {"pattern": "("}]
)
def test_a_schema_that_cannot_be_used_is_refused_by_name(schema: Any) -> None:
    with pytest.raises(SchemaError, match="schema of 'Order Completed': "):
        compile_schemas({"Order Completed": schema})
