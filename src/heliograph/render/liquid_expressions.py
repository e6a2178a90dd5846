"""Liquid's expressions as expressions of Python: the inner half of the compiler (:mod:`liquid_program`).

Each method answers source text for one kind of node of python-liquid's syntax tree.  Nothing that an author or a
person wrote becomes code: text goes in as an ASCII literal, anything else as a constant under a made-up name, and all
names are made up here.  Three questions can be asked of an expression:

* ``value``: what ``evaluate`` returns, a :class:`Missing` where a path has no value;
* ``raw``: the same with None in the place of that ``Missing``, which is cheaper and says no less to a condition;
* ``test``: whether that is true to Liquid, as True or False.

Two variables are used within one expression and never across: ``v`` for a value, ``t`` for a step of a path.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, ClassVar

from liquid.builtin.expressions import (
    BooleanExpression,
    Filter,
    FilteredExpression,
    KeywordArgument,
    Nil,
    Path,
    PositionalArgument,
)
from liquid.builtin.expressions.logical import (
    ContainsExpression,
    EqExpression,
    GeExpression,
    GtExpression,
    LeExpression,
    LogicalAndExpression,
    LogicalOrExpression,
    LtExpression,
    NeExpression,
)
from liquid.builtin.expressions.primitive import (
    Blank,
    Empty,
    FalseLiteral,
    FloatLiteral,
    IntegerLiteral,
    StringLiteral,
    TrueLiteral,
)
from liquid.builtin.filters.math import divided_by, minus, modulo, plus, times
from liquid.builtin.filters.misc import default
from liquid.builtin.filters.string import capitalize, downcase, lstrip, rstrip, strip, upcase
from liquid.environment import Environment
from liquid.expression import Expression

from heliograph.render.context import BlankOrNil, NamedPath, ShortRange, path_text
from heliograph.render.liquid_names import Names, Uncovered, literal

MAX_NESTING = 30
"""Of expressions in one another (``and`` in ``and``, filter behind filter): CPython parses up to 200 parentheses."""
MAX_INLINE_INT = 2**63
_LITERALS = (StringLiteral, IntegerLiteral, FloatLiteral, TrueLiteral, FalseLiteral)
_THEMSELVES = (Empty, Blank, BlankOrNil)
"""Expressions that are their own value."""
_STR_METHODS = {
    upcase: "upper", downcase: "lower", capitalize: "capitalize", strip: "strip", lstrip: "lstrip", rstrip: "rstrip",
}  # fmt: skip
"""Filters that do to a plain string just what its method does."""
_INT_OPERATORS = {plus: "+", minus: "-", times: "*", divided_by: "//", modulo: "%"}
"""And to two whole numbers what the operator does."""


class Expressions:
    """Compiles expressions for one template.  ``constants``: what its code finds under made-up names."""

    def __init__(self, env: Environment, names: Names) -> None:
        self.env = env
        self.names = names
        self.constants: dict[str, Any] = {}
        self.visited = 0
        self._depth = 0

    def constant(self, value: object) -> str:
        """Source that means this value."""
        if value is None or value is True or value is False:
            return repr(value)
        if type(value) is str:
            return literal(value)
        if type(value) is int and abs(value) < MAX_INLINE_INT:
            return f"({value})"
        name = f"k{len(self.constants)}"
        self.constants[name] = value
        return name

    def bare(self, expression: Expression) -> Expression:
        """Without the wrapper of filters, where there are none."""
        if type(expression) is FilteredExpression and not expression.filters:
            return expression.left
        return expression

    def known(self, expression: Expression) -> object:
        """The value that it has always; None when only rendering tells."""
        if type(expression) in _LITERALS:
            return expression.value  # type: ignore[attr-defined]
        return expression if type(expression) in _THEMSELVES else None

    def value(self, expression: Expression) -> str:
        expression = self.bare(expression)
        if type(expression) is NamedPath:
            path = expression.path
            return f"(v if (v := {self.raw(expression)}) is not None else Missing({literal(path_text(path))}))"
        return self.raw(expression)

    def raw(self, expression: Expression) -> str:
        expression = self.bare(expression)
        known = self.known(expression)
        return self._nested(self._RAW, expression) if known is None else self.constant(known)

    def test(self, expression: Expression) -> str:
        known = self.known(expression)
        if known is not None or type(expression) is Nil:
            return repr(known is not None and known is not False)
        if type(expression) in self._TESTS:
            return self._nested(self._TESTS, expression)
        return f"truthy({self.raw(expression)})"

    def _nested(self, methods: "dict[type, Callable[[Expressions, Any], str]]", expression: Expression) -> str:
        method = methods.get(type(expression))
        self.visited += 1
        if method is None or self._depth >= MAX_NESTING:
            raise Uncovered
        self._depth += 1
        try:
            return method(self, expression)
        finally:
            self._depth -= 1

    # -- what has a value --

    def _nil(self, _: Nil) -> str:
        return "None"

    def _named_path(self, expression: NamedPath) -> str:
        root, *rest = expression.path
        if not isinstance(root, str) or len(rest) > MAX_NESTING:
            return self._dynamic_path(expression)
        source = self.names.source(root)
        return self._steps(source, rest, is_name=source.isidentifier())

    def _steps(self, source: str, rest: list[Any], *, is_name: bool) -> str:
        """A dict's own key costs little; everything else is asked of the context."""
        if rest and rest[0] in self.names.helpers.get(source, ()):
            source, rest, is_name = f"{source}.{rest[0]}", rest[1:], False
        for segment in rest:
            key = self.constant(segment)
            held, test = (source, source) if is_name else ("t", f"(t := {source})")
            if isinstance(segment, str):
                source = f"({held}[{key}] if type({test}) is dict and {key} in {held} else item({held}, {key}))"
            else:
                source = f"item({source}, {key})"
            is_name = False
        return source

    def _dynamic_path(self, expression: Path) -> str:
        segments = [self.value(s) if isinstance(s, Path) else self.constant(s) for s in expression.path]
        return f"context.get([{', '.join(segments)}], token=None)"

    def _range(self, expression: ShortRange) -> str:
        make = self.constant(expression._make_range)
        return f"{make}({self.value(expression.start)}, {self.value(expression.stop)})"

    def _filtered(self, expression: FilteredExpression) -> str:
        filters = expression.filters or []
        before, last = filters[:-1], filters[-1]
        return self._filter(FilteredExpression(expression.token, expression.left, before), last)

    # -- filters --

    def _filter(self, left: FilteredExpression, node: Filter) -> str:
        function: Any = self.env.filters.get(node.name)
        if function is None:
            return f"unknown({literal(node.name)})"
        positional = [arg.value for arg in node.args if type(arg) is PositionalArgument]
        named = [arg for arg in node.args if type(arg) is KeywordArgument]
        if len(positional) + len(named) != len(node.args):
            raise Uncovered
        passes = getattr(function, "passes_missing", False)
        original = function.__wrapped__ if passes else function
        ways = [] if named else list(self._short_ways(original, positional))
        if passes and not named and all(map(_is_literal, positional)):
            ways.append(("v", "type({}) is Missing"))
            function = original
        arguments = "".join(f", {self.value(argument)}" for argument in positional) + self._keywords(function, named)
        return self._first_of(ways, self.value(left), self._called(function), arguments)

    def _first_of(self, ways: list[tuple[str, str]], left: str, call: str, arguments: str) -> str:
        """``ways``: (result, test) in terms of ``v``, the left side; when none applies the filter is called."""
        if not ways:
            return f"{call}({left}{arguments})"
        lefts = [f"v := {left}", *["v"] * (len(ways) - 1)]
        tests = [f"{result} if {test.format(side)} else " for (result, test), side in zip(ways, lefts, strict=True)]
        return f"({''.join(tests)}{call}(v{arguments}))"

    def _short_ways(self, function: Callable[..., Any], arguments: list[Expression]) -> Iterator[tuple[str, str]]:
        """What some filters do to a plain text or whole number, without asking what it is again and again."""
        if function in _STR_METHODS and not arguments:
            yield f"v.{_STR_METHODS[function]}()", "type({}) is str"
        elif function is default and len(arguments) < 2 and all(map(_cannot_fail, arguments)):
            yield "v", "type({}) is str and v"
        elif function in _INT_OPERATORS and len(arguments) == 1 and type(arguments[0]) is IntegerLiteral:
            by = arguments[0].value
            if by == 0 and function in (divided_by, modulo):
                return
            yield f"v {_INT_OPERATORS[function]} {self.constant(by)}", "type({}) is int"

    def _called(self, function: Callable[..., Any]) -> str:
        asks = getattr(function, "with_environment", False)
        return self.constant(partial(function, environment=self.env) if asks else function)

    def _keywords(self, function: Callable[..., Any], named: list[KeywordArgument]) -> str:
        """By text, for they are an author's words."""
        pairs = [f"{literal(arg.name)}: {self.value(arg.value)}" for arg in named]
        if getattr(function, "with_context", False):
            pairs.insert(0, "'context': context")
        return f", **{{{', '.join(pairs)}}}" if pairs else ""

    # -- conditions --

    def _boolean(self, expression: BooleanExpression) -> str:
        return self.test(expression.expression)

    def _and(self, expression: LogicalAndExpression) -> str:
        return f"({self.test(expression.left)} and {self.test(expression.right)})"

    def _or(self, expression: LogicalOrExpression) -> str:
        return f"({self.test(expression.left)} or {self.test(expression.right)})"

    def _eq(self, expression: EqExpression) -> str:
        return f"equal({self.raw(expression.left)}, {self.raw(expression.right)})"

    def _ne(self, expression: NeExpression) -> str:
        return f"(not equal({self.raw(expression.left)}, {self.raw(expression.right)}))"

    def _lt(self, expression: LtExpression) -> str:
        return f"less(None, {self.raw(expression.left)}, {self.raw(expression.right)})"

    def _gt(self, expression: GtExpression) -> str:
        return f"less(None, {self.raw(expression.right)}, {self.raw(expression.left)})"

    def _le(self, expression: LeExpression) -> str:
        return f"at_most({self.raw(expression.left)}, {self.raw(expression.right)})"

    def _ge(self, expression: GeExpression) -> str:
        return f"at_most({self.raw(expression.right)}, {self.raw(expression.left)})"

    def _contains(self, expression: ContainsExpression) -> str:
        return f"contains(None, {self.raw(expression.left)}, {self.raw(expression.right)})"

    _TESTS: ClassVar[dict[type, Callable[["Expressions", Any], str]]] = {
        BooleanExpression: _boolean, LogicalAndExpression: _and, LogicalOrExpression: _or, EqExpression: _eq,
        NeExpression: _ne, LtExpression: _lt, GtExpression: _gt, LeExpression: _le, GeExpression: _ge,
        ContainsExpression: _contains,
    }  # fmt: skip
    """Their value is their test."""
    _RAW: ClassVar[dict[type, Callable[["Expressions", Any], str]]] = {
        Nil: _nil, NamedPath: _named_path, Path: _dynamic_path, ShortRange: _range, FilteredExpression: _filtered,
        **_TESTS,
    }  # fmt: skip


def _cannot_fail(expression: Expression) -> bool:
    return type(expression) is NamedPath or _is_literal(expression)


def _is_literal(expression: Expression) -> bool:
    return type(expression) in (*_LITERALS, Nil)
