"""JSON Schema by event name, through jsonschema-rs: the :class:`heliograph.ports.SchemaCheck` of this house."""

from collections.abc import Mapping
from typing import Any

import jsonschema_rs

from heliograph.ports import SchemaCheck

_MAX_VALUE = 80


class SchemaError(ValueError):
    """A schema that cannot be used; fix the file.  The text says where and why."""


class JsonSchema:
    """One compiled schema (2020-12 unless it names another draft), with ``format`` checked.

    Validating costs about a microsecond per field and runs outside Python.  References are resolved inside the schema
    only: nothing is fetched.
    """

    def __init__(self, schema: Mapping[str, Any] | bool) -> None:
        if not isinstance(schema, Mapping | bool):
            raise SchemaError("a schema is an object (or true, or false)")
        try:
            self._validator = jsonschema_rs.validator_for(
                schema if isinstance(schema, bool) else dict(schema), validate_formats=True, retriever=_fetch_nothing
            )
        except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError) as error:
            raise SchemaError(str(error).splitlines()[0]) from error

    def __call__(self, value: Any) -> str | None:
        if self._validator.is_valid(value):
            return None
        error = next(iter(self._validator.iter_errors(value)))
        path = ".".join(str(part) for part in error.instance_path)
        sentence = _short(error.message)
        return f"{path}: {sentence}" if path else sentence


def compile_schemas(schemas: Mapping[str, Any]) -> dict[str, SchemaCheck]:
    """Event name (or ``identify``) -> check; :class:`SchemaError` names the first that cannot be used."""
    checks: dict[str, SchemaCheck] = {}
    for name, schema in schemas.items():
        try:
            checks[name] = JsonSchema(schema)
        except SchemaError as error:
            raise SchemaError(f"schema of {name!r}: {error}") from error
    return checks


def _fetch_nothing(uri: str) -> Any:
    raise ValueError(f"{uri} is outside this schema; references must stay inside the file")


def _short(message: str) -> str:
    """jsonschema-rs puts the whole value into its message; a long one is cut in the middle."""
    return message if len(message) <= 4 * _MAX_VALUE else f"{message[:_MAX_VALUE]} … {message[-3 * _MAX_VALUE :]}"
