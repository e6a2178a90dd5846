"""Amounts as integers in millionths, and what can be asked of them.

JSON carries numbers as text; a decoder makes them int or float.  What is meant is the shortest decimal that names the
number: 19.99, not 19.989999999999998436805981327779591083526611328125.  In millionths that is a whole number, and sums
of whole numbers are exact and do not depend on their order.
"""

import operator
from collections.abc import Callable
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any, Final, TypeAlias

import msgspec

from heliograph.decide.conditions.operators import OPERATORS, show
from heliograph.decide.parsing import Context as Reading
from heliograph.decide.parsing import JsonPath, kind_of

MICRO: Final = 1_000_000
MAX_AMOUNT: Final = 9_000_000_000_000
"""Nine million million, either way: in millionths it fits 64 bits.  What is greater is no amount."""
_SHORT: Final = 10**15
"""Below it a whole number has at most 15 digits, and a float names at most one decimal of 15 digits."""
_DECIMAL: Final = Context(prec=60, rounding=ROUND_HALF_EVEN)


def micros(value: Any) -> int | None:
    """A JSON number in millionths, to the nearest (a half to the even one); None for everything else."""
    kind = value.__class__
    if (kind is not float and kind is not int) or not -MAX_AMOUNT <= value <= MAX_AMOUNT:
        return None
    near: int = round(value * MICRO)
    if kind is int or (near / MICRO == value and -_SHORT < near < _SHORT):
        return near
    return int(_DECIMAL.to_integral_value(_in_millionths(value)))


def _in_millionths(value: float) -> Decimal:
    return _DECIMAL.multiply(Decimal(repr(value)), Decimal(MICRO))


def decimal_text(micro: int, unit: int = MICRO) -> str:
    """``12345670000`` as ``12345.67``; ``unit`` of them are one.  Cut after six decimals."""
    whole, rest = divmod(abs(micro) * MICRO // unit, MICRO)
    text = f"{whole}.{rest:06}".rstrip("0").rstrip(".")
    return f"-{text}" if micro < 0 and text != "0" else text


class Comparison(msgspec.Struct, frozen=True):
    """``value word operand``, both in one unit."""

    word: str
    operand: int
    text: str

    @property
    def test(self) -> Callable[[int, int], bool]:
        return TESTS[self.word]

    @property
    def canonical(self) -> list[Any]:
        return [self.word, self.operand]


TESTS: Final[dict[str, Callable[[int, int], bool]]] = {
    "is": operator.eq,
    "is_not": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}
ReadOperand: TypeAlias = Callable[[Any, JsonPath, str, Reading], int | None]


def read_comparisons(
    fields: dict[str, Any], path: JsonPath, what: str, context: Reading, read: ReadOperand
) -> tuple[Comparison, ...] | None:
    """The comparisons among the keys of a mapping, all of which have to hold; None after noting what is wrong."""
    written = [word for word in fields if word in TESTS]
    if not written:
        context.problem(path, f"{what} needs a comparison: {', '.join(TESTS)}")
        return None
    found = []
    for word in written:
        if (operand := read(fields[word], (*path, word), word, context)) is not None:
            found.append(Comparison(word, operand, f"{OPERATORS[word].phrase} {show(fields[word])}"))
    return tuple(found) if len(found) == len(written) else None


def read_amount(node: Any, path: JsonPath, word: str, context: Reading) -> int | None:
    """A number of at most six decimals, in millionths."""
    if isinstance(node, bool) or not isinstance(node, int | float):
        context.problem(path, f"`{word}` takes a number, not {kind_of(node)}")
    elif (micro := micros(node)) is None:
        context.problem(path, f"`{word}`: {node} is beyond {MAX_AMOUNT}, the greatest amount that is counted")
    elif isinstance(node, float) and _in_millionths(node) != micro:
        context.problem(path, f"`{word}`: {node} has more than six decimals; amounts are exact to the millionth")
    else:
        return micro
    return None
