"""Liquid's expressions as expressions of Python: the inner half of the compiler (:mod:`liquid_program`).

Each method answers source text for one kind of node of python-liquid's syntax tree.  Nothing that an author or a
person wrote becomes code: text goes in as an ASCII literal, anything else as a constant under a made-up name, and all
names are made up here.  Three questions can be asked of an expression:

* ``value``: what ``evaluate`` returns, a :class:`Missing` where a path has no value;
* ``raw``: the same with None in the place of that ``Missing``, which is cheaper and says no less to a condition;
* ``test``: whether that is true to Liquid, as True or False.

Two variables are used within one expression and never across: ``v`` for a value, ``t`` for a step of a path.
"""

from collections.abc import Callable
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
    RangeLiteral,
    StringLiteral,
    TrueLiteral,
)
from liquid.builtin.filters.misc import default
from liquid.builtin.filters.string import capitalize, downcase, lstrip, rstrip, strip, upcase
from liquid.environment import Environment
from liquid.expression import Expression

from heliograph.render.context import BlankOrNil, NamedPath, path_text

MAX_NESTING = 30
"""Of expressions in one another (``and`` in ``and``, filter behind filter): CPython parses up to 200 parentheses."""
MAX_INLINE_INT = 2**63
LOOP_KEYS = frozenset(("length", "index", "index0", "rindex", "rindex0", "first", "last", "parentloop", "name"))
ROW_KEYS = frozenset(
    ("length", "index", "index0", "rindex", "rindex0", "first", "last", "col", "col0", "col_first", "col_last", "row")
)
_LITERALS = (StringLiteral, IntegerLiteral, FloatLiteral, TrueLiteral, FalseLiteral)
_THEMSELVES = (Empty, Blank, BlankOrNil)
"""Expressions that are their own value."""
_STR_METHODS = {
    upcase: "upper", downcase: "lower", capitalize: "capitalize", strip: "strip", lstrip: "lstrip", rstrip: "rstrip",
}  # fmt: skip
"""Filters that do to a plain string just what its method does."""


class Uncovered(Exception):
    """There is something here that only the interpreter knows how to render."""


def literal(text: str) -> str:
    """The literal of Python, in ASCII, that means this text: the one way in which an author's words enter source."""
    return ascii(str(text))


class Names:
    """What names stand for at one place of a template: the innermost scope first, as the context searches them."""

    def __init__(self, changing: frozenset[str]) -> None:
        """``changing``: what the template itself assigns, captures or counts."""
        self._changing = changing
        self._scopes: list[dict[str, str]] = [{"partial": "PARTIAL"}]  # the library's, above all that is assigned
        self.helpers: dict[str, frozenset[str]] = {}
        """The variables that hold a loop's helper, and what can be read of it."""
        self.hoisted: dict[str, str] = {}
        """Names that come from outside for as long as the template runs, and the variable that holds each."""

    @property
    def depth(self) -> int:
        return len(self._scopes)

    def push(self, scope: dict[str, str], helper: str, keys: frozenset[str]) -> None:
        self._scopes.append(scope)
        self.helpers[helper] = keys

    def pop(self) -> None:
        self._scopes.pop()

    def cut(self, depth: int) -> None:
        del self._scopes[depth:]

    def source(self, name: str) -> str:
        """None (of Python) is no value."""
        for scope in reversed(self._scopes):
            if name in scope:
                return scope[name]
        if name not in self._changing:
            return self.hoisted.setdefault(name, f"g{len(self.hoisted)}")
        key = literal(name)
        return f"(own[{key}] if {key} in own else outside[{key}] if {key} in outside else counters.get({key}))"


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
        if not isinstance(root, str):
            raise Uncovered
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

    def _range(self, expression: RangeLiteral) -> str:
        make = self.constant(expression._make_range)
        return f"{make}({self.value(expression.start)}, {self.value(expression.stop)})"

    def _filtered(self, expression: FilteredExpression) -> str:
        filters = expression.filters or []
        before, last = filters[:-1], filters[-1]
        return self._filter(FilteredExpression(expression.token, expression.left, before), last)

    # -- filters --

    def _filter(self, left: FilteredExpression, node: Filter) -> str:
        function = self.env.filters.get(node.name)
        if function is None:
            return f"unknown({literal(node.name)})"
        positional = [arg.value for arg in node.args if type(arg) is PositionalArgument]
        named = [arg for arg in node.args if type(arg) is KeywordArgument]
        if len(positional) + len(named) != len(node.args):
            raise Uncovered
        arguments = "".join(f", {self.value(argument)}" for argument in positional)
        pairs = [f"{literal(arg.name)}: {self.value(arg.value)}" for arg in named]
        if getattr(function, "with_context", False):
            pairs.insert(0, "'context': context")
        if getattr(function, "with_environment", False):
            function = partial(function, environment=self.env)
        keywords = f", **{{{', '.join(pairs)}}}" if pairs else ""  # by text, for they are an author's words
        return self._call(function, self.value(left), arguments + keywords, node)

    def _call(self, function: Callable[..., Any], left: str, arguments: str, node: Filter) -> str:
        """The short way for plain text, where the filter has one."""
        call = self.constant(function)
        method = _STR_METHODS.get(getattr(function, "__wrapped__", function))
        if method and not node.args:
            return f"(v.{method}() if type(v := {left}) is str else {call}(v))"
        if function is default and len(node.args) < 2 and all(map(_harmless, node.args)):
            return f"(v if type(v := {left}) is str and v else {call}(v{arguments}))"
        return f"{call}({left}{arguments})"

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
        Nil: _nil, NamedPath: _named_path, Path: _dynamic_path, RangeLiteral: _range, FilteredExpression: _filtered,
        **_TESTS,
    }  # fmt: skip


def _harmless(argument: KeywordArgument | PositionalArgument) -> bool:
    """One that need not be looked at when it is not used: it has no name to be wrong, and cannot fail."""
    return type(argument) is PositionalArgument and type(argument.value) in (*_LITERALS, Nil, NamedPath)
