"""The operators of traits and ``where``, as a table, each compiled to a closure when the plan is (contract, section 3).

Two-valued logic: every operator is false on missing (None) and on a type that it does not take.  The negated ones
(``is_not``, ``not_in``, ``exists: false``) are exactly *not* their positive, whatever that says.  Nothing is coerced:
"5" is not 5 and true is not 1, while int and float compare by value; text compares after NFC.  A list satisfies
``is``, ``in`` and comparisons if any of its elements does.
"""

import math
import unicodedata
from collections.abc import Callable, Hashable
from typing import Any, Final

import msgspec
import re2

from heliograph.decide.conditions.paths import Test
from heliograph.decide.parsing import Context, JsonPath, kind_of

MAX_OPERANDS: Final = 1000
"""Values in ``in`` and ``not_in``; longer ones belong into an imported list."""
MAX_PATTERN: Final = 500
"""Characters of a regular expression."""
MAX_PATTERN_MEMORY: Final = 1 << 20
"""Bytes that RE2 may spend on one; it refuses what would need more, and falls back to its slower matcher at run."""
MAX_INTEGER: Final = 1 << 63

Scalar = str | int | float | bool


class Check(msgspec.Struct, frozen=True):
    """One operator with its operand.  Holds when ``test`` says so, or when it does not if ``negated``.

    ``canonical`` is JSON-able and equal for equal meanings.  ``keys``: ``test`` can only hold for a value (or a list
    with an element) whose :func:`index_key` is one of these; None when nothing so simple is true.
    """

    word: str
    canonical: list[Any]
    text: str
    test: Test
    negated: bool = False
    keys: frozenset[Hashable] | None = None


def fold(text: str, ignore_case: bool = False) -> str:
    """Text as it is compared."""
    if text.isascii():
        return text.lower() if ignore_case else text
    text = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", text.casefold()) if ignore_case else text


def index_key(value: Any) -> Hashable:
    """Equal for scalars that compare equal and for no others; None for everything else."""
    kind = value.__class__
    if kind is str:
        return value if value.isascii() else unicodedata.normalize("NFC", value)
    if kind is bool:
        return (value,)  # or True would be 1
    return value if kind is int or kind is float else None


def index_keys(value: Any) -> list[Hashable]:
    """The keys under which a value, the elements of a list, or those of lists found by a ``*`` may be known."""
    if value.__class__ is not list:
        return [index_key(value)]
    keys: list[Hashable] = []
    for element in value:
        keys += map(index_key, element) if element.__class__ is list else (index_key(element),)
    return keys


# -- building blocks --


def _any_element(test: Test) -> Test:
    def satisfied(value: Any) -> bool:
        return any(map(test, value)) if value.__class__ is list else test(value)

    return satisfied


def _text_test(test: Callable[[str], bool]) -> Test:
    def satisfied(value: Any) -> bool:
        return value.__class__ is str and test(value)

    return satisfied


def _equals(operand: Scalar | None, ignore_case: bool) -> Test:
    if operand is None:
        return lambda value: value is None
    if not isinstance(operand, str):
        kinds = (bool,) if isinstance(operand, bool) else (int, float)
        return lambda value: value.__class__ in kinds and value == operand
    folded = fold(operand, ignore_case)
    if ignore_case:
        return lambda value: value.__class__ is str and fold(value, True) == folded
    return lambda value: value.__class__ is str and (value == folded or (not value.isascii() and fold(value) == folded))


def _is(operand: Any, ignore_case: bool) -> Test:
    equals = _equals(operand, ignore_case)
    if ignore_case or not isinstance(operand, str):
        return _any_element(equals)

    def satisfied(value: Any) -> bool:  # the most frequent question of all: without a second call
        if value.__class__ is str:
            return value == operand or (not value.isascii() and fold(value) == operand)
        return value.__class__ is list and any(map(equals, value))

    return satisfied


def _in(operands: list[Any], ignore_case: bool) -> Test:
    if not ignore_case:
        keys = frozenset(map(index_key, operands))
        return _any_element(lambda value: value is not None and index_key(value) in keys)
    tests = [_equals(operand, True) for operand in operands]
    return _any_element(lambda value: any(test(value) for test in tests))


def _contains(operand: Scalar, ignore_case: bool) -> Test:
    equals = _equals(operand, ignore_case)
    part = fold(operand, ignore_case) if isinstance(operand, str) else None

    def satisfied(value: Any) -> bool:
        if value.__class__ is list:
            return any(map(equals, value))
        return part is not None and value.__class__ is str and part in fold(value, ignore_case)

    return satisfied


def _starts_with(operand: str, ignore_case: bool) -> Test:
    start = fold(operand, ignore_case)
    return _text_test(lambda value: fold(value, ignore_case).startswith(start))


def _ends_with(operand: str, ignore_case: bool) -> Test:
    end = fold(operand, ignore_case)
    return _text_test(lambda value: fold(value, ignore_case).endswith(end))


def _matches(operand: str, ignore_case: bool) -> Test:
    pattern = compile_pattern(operand, ignore_case)

    def found(value: str) -> bool:
        try:
            return pattern.search(fold(value)) is not None
        except UnicodeEncodeError:  # half of a surrogate pair: no text that RE2 takes
            return False

    return _text_test(found)


def compile_pattern(pattern: str, ignore_case: bool) -> Any:
    """An RE2 pattern, found anywhere in the text unless anchored; :class:`ValueError` with RE2's reason."""
    options = re2.Options()
    options.case_sensitive = not ignore_case
    options.log_errors = False
    options.max_mem = MAX_PATTERN_MEMORY
    try:
        return re2.compile(fold(pattern), options)
    except re2.error as error:
        reason = error.args[0]
        raise ValueError(reason.decode(errors="replace") if isinstance(reason, bytes) else str(reason)) from None


def _compares(compare: Callable[[Any, Any], bool]) -> Callable[[Any, bool], Test]:
    def build(operand: float, ignore_case: bool) -> Test:
        return _any_element(lambda value: value.__class__ in (int, float) and compare(value, operand))

    return build


def _exists(operand: bool, ignore_case: bool) -> Test:
    return lambda value: value is not None


# -- operands --

Reader = Callable[[Any, JsonPath, str, Context], Any]


def _refuse(context: Context, path: JsonPath, message: str) -> None:
    context.problem(path, message)


def read_scalar(node: Any, path: JsonPath, word: str, context: Context) -> Scalar | None:
    """Text, a finite number (whole floats become ints: one canonical form), true or false."""
    if isinstance(node, str):
        text = context.text(node, path, f"`{word}`", empty=True)
        return None if text is None else fold(text)
    if isinstance(node, bool):
        return node
    if isinstance(node, int | float):
        return _read_number(node, path, word, context)
    _refuse(context, path, f"`{word}` takes text, a number, true or false, not {kind_of(node)}")
    return None


def _read_number(node: Any, path: JsonPath, word: str, context: Context) -> int | float | None:
    if isinstance(node, bool) or not isinstance(node, int | float):
        hint = "; for instants write `before`, `after` or `within`" if isinstance(node, str) else ""
        _refuse(context, path, f"`{word}` takes a number, not {kind_of(node)}{hint}")
    elif not math.isfinite(node) or abs(node) >= MAX_INTEGER:
        _refuse(context, path, f"`{word}`: {node} is not a number that JSON can carry")
    else:
        return int(node) if isinstance(node, float) and node.is_integer() else node
    return None


def _read_text(node: Any, path: JsonPath, word: str, context: Context) -> str | None:
    text = context.text(node, path, f"`{word}`")
    return None if text is None else fold(text)


def _read_pattern(node: Any, path: JsonPath, word: str, context: Context) -> str | None:
    if (text := context.text(node, path, f"`{word}`")) is None:
        return None
    if len(text) > MAX_PATTERN:
        _refuse(context, path, f"`{word}`: a pattern has at most {MAX_PATTERN} characters")
        return None
    try:
        compile_pattern(text, ignore_case=False)
    except ValueError as error:
        _refuse(context, path, f"`{word}`: {text!r} is no regular expression (RE2): {error}")
        return None
    return fold(text)


def _read_scalars(node: Any, path: JsonPath, word: str, context: Context) -> list[Scalar] | None:
    if (items := context.sequence(node, path, f"`{word}`", most=MAX_OPERANDS)) is None:
        return None
    values = [read_scalar(item, (*path, at), word, context) for at, item in enumerate(items)]
    present = {index_key(value): value for value in values if value is not None}
    return [present[key] for key in sorted(present, key=repr)] if None not in values else None


def _read_boolean(node: Any, path: JsonPath, word: str, context: Context) -> bool | None:
    return context.boolean(node, path, f"`{word}`")


# -- the table --


class Operator(msgspec.Struct, frozen=True):
    """``phrase`` is its plain English; ``negates`` names the operator that it is exactly the contrary of."""

    phrase: str
    read: Reader
    build: Callable[[Any, bool], Test]
    negates: str = ""


OPERATORS: Final[dict[str, Operator]] = {
    "is": Operator("is", read_scalar, _is),
    "is_not": Operator("is not", read_scalar, _is, negates="is"),
    "in": Operator("is one of", _read_scalars, _in),
    "not_in": Operator("is none of", _read_scalars, _in, negates="in"),
    "contains": Operator("contains", read_scalar, _contains),
    "starts_with": Operator("starts with", _read_text, _starts_with),
    "ends_with": Operator("ends with", _read_text, _ends_with),
    "matches": Operator("matches", _read_pattern, _matches),
    "gt": Operator("is greater than", _read_number, _compares(lambda value, operand: bool(value > operand))),
    "gte": Operator("is at least", _read_number, _compares(lambda value, operand: bool(value >= operand))),
    "lt": Operator("is less than", _read_number, _compares(lambda value, operand: bool(value < operand))),
    "lte": Operator("is at most", _read_number, _compares(lambda value, operand: bool(value <= operand))),
    "exists": Operator("exists", _read_boolean, _exists),
}
TAKES_NULL: Final = frozenset({"is", "is_not"})
EQUALITIES: Final = frozenset({"is", "in"})


def parse_check(word: str, node: Any, path: JsonPath, context: Context, *, ignore_case: bool = False) -> Check | None:
    """The check that ``word: node`` stands for; None after noting why not."""
    operator = OPERATORS[word]
    if node is None and word in TAKES_NULL:
        operand = None
    elif (operand := operator.read(node, path, word, context)) is None:
        return None
    return _build(word, operator, operand, ignore_case)


def _build(word: str, operator: Operator, operand: Any, ignore_case: bool) -> Check:
    plain = operator.negates or word
    if word == "exists":
        negated, shown = not operand, "exists" if operand else "does not exist"
    else:
        negated, shown = bool(operator.negates), f"{operator.phrase} {show(operand)}"
    folds = ignore_case and word != "exists" and _has_text(operand)
    return Check(
        word=word,
        canonical=[word, operand, *(["ignore_case"] if folds else [])],
        text=shown + (", in any case" if folds else ""),
        test=operator.build(operand, ignore_case),
        negated=negated,
        keys=_keys(plain, operand) if not folds else None,
    )


def _keys(word: str, operand: Any) -> frozenset[Hashable] | None:
    if word not in EQUALITIES or operand is None:
        return None
    return frozenset(map(index_key, operand if isinstance(operand, list) else [operand]))


def _has_text(operand: Any) -> bool:
    return isinstance(operand, str) or (isinstance(operand, list) and any(isinstance(item, str) for item in operand))


def show(value: Any) -> str:
    """A value in a sentence: JSON, cut after 80 characters; ``nothing`` for missing."""
    if value is None:
        return "nothing"
    try:
        text = msgspec.json.encode(value).decode()
    except (msgspec.MsgspecError, OverflowError, UnicodeEncodeError, TypeError):
        text = repr(value)
    return text if len(text) <= 80 else text[:79] + "…"
