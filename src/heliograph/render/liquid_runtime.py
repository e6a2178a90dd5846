"""What a compiled template calls while it renders, and what the interpreted one shares with it.

Where python-liquid has a function for something, that one is called; what is ours is the short way for the values that
people's data is made of.  Errors need no care here: when a program fails, in whatever way, the template is interpreted
and python-liquid says what is wrong (:func:`heliograph.render.liquid.render`).
"""

from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import markupsafe
from liquid import Markup, escape
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.logical import _contains, _eq, _le, _lt, is_truthy
from liquid.builtin.tags.for_tag import ForLoop
from liquid.builtin.tags.tablerow_tag import TableRow
from liquid.context import RenderContext
from liquid.exceptions import BreakLoop, ContinueLoop, OutputStreamLimitError
from liquid.expression import Expression
from liquid.limits import to_int
from liquid.output import NullIO
from liquid.stringify import to_liquid_string
from liquid.undefined import Undefined, is_undefined

from heliograph.render.context import MAX_OUTPUT, Context, Missing
from heliograph.render.errors import Skip

WEB_SCHEMES = ("http:", "https:", "mailto:", "tel:", "sms:", "#")
Items = tuple[Iterator[Any], int]
"""What a loop walks over, and how long it is."""

escaped: Callable[[str], str] = getattr(markupsafe, "_escape_inner", escape)
"""``escape`` without the object around its answer, which costs seven times as much."""
_SHOWN: dict[type, Callable[[Any], str]] = {int: str, float: str, bool: ("false", "true").__getitem__}
_PLAIN = frozenset((str, int, float, bool, list, dict))


class Written(list[str]):
    """The pieces of a template's output, or of a capture within.  The characters are counted now and then, and always
    before the text is used."""

    __slots__ = ("_counted", "_room")

    def __init__(self) -> None:
        super().__init__()
        self._room = MAX_OUTPUT
        self._counted = 0

    def write(self, text: str) -> int:
        """For nodes that are interpreted, to whom this is a text file."""
        self.append(text)
        self.check()
        return len(text)

    def check(self) -> None:
        """Raises when there is too much."""
        self._room -= sum(map(len, self[self._counted :]))
        self._counted = len(self)
        _require_room(self._room)

    def text(self) -> str:
        text = "".join(self)
        _require_room(MAX_OUTPUT - len(text))
        return text


def _require_room(characters: int) -> None:
    if characters < 0:
        raise OutputStreamLimitError(f"more than {MAX_OUTPUT:,} characters", token=None)


# -- values --


def written(value: object, what: object, html: bool) -> str:
    """The text of ``value``, escaped in HTML; ``what`` is the expression that made it."""
    kind = type(value)
    if kind is str:  # nearly always; the checks below ask abstract classes, which is slow
        return escape(value) if html else value  # type: ignore[return-value]
    if kind in _SHOWN:
        return _SHOWN[kind](value)
    if value is None or isinstance(value, Missing | Undefined):
        raise Skip(f"missing: {value.path if isinstance(value, Missing) else what}")
    text = value if isinstance(value, str) else to_liquid_string(value, autoescape=False)
    return escape(text) if html else text


def written_html(value: object) -> str:
    return written(value, "", True)


def written_text(value: object) -> str:
    return written(value, "", False)


def require(value: object) -> None:
    if isinstance(value, Missing):
        raise Skip(f"missing: {value.path}")


def truthy(value: object) -> bool:
    if value is None or type(value) in _PLAIN:
        return value is not None and value is not False
    return is_truthy(value)


def equal(left: object, right: object) -> bool:
    if type(left) is str and type(right) is str:
        return left == right
    return _eq(left, right)


def unknown(name: str) -> object:
    raise LookupError(f"no filter {name!r}")


# -- loops --


def items(loop: LoopExpression, iterable: object, context: Context, required: bool) -> Items:
    """``required``: there is no ``else`` to take when there is nothing."""
    if type(iterable) is list:
        return iter(iterable), len(iterable)
    if required:
        require(iterable)
    return loop._to_iter(iterable, context)


def whole(loop: LoopExpression, value: object, expression: Expression) -> int:
    return loop._to_int(value, token=expression.token)


def sliced(loop: LoopExpression, found: Items, context: Context, limit: Any, offset: Any) -> Items:
    return loop._slice(*found, context, limit=limit, offset=offset)


def enter_for(context: Context, name: str, title: str, found: Items) -> tuple[ForLoop, dict[str, object]] | None:
    """The loop's helper and the names that its body sees, or None when there is nothing to walk over."""
    iterator, length = found
    if not length:
        return None
    loop = ForLoop(name=title, it=iterator, length=length, parentloop=context.parentloop())
    namespace: dict[str, object] = {"forloop": loop, name: None}
    _enter(context, namespace, loop)
    return loop, namespace


def enter_tablerow(context: Context, name: str, found: Items, columns: int) -> tuple[TableRow, dict[str, object]]:
    context.raise_for_loop_limit(found[1])  # the library asks once for the table and once for its loop
    row = TableRow(name, *found, columns)
    namespace: dict[str, object] = {"tablerowloop": row}
    _enter(context, namespace, row)
    return row, namespace


def _enter(context: Context, namespace: dict[str, object], loop: ForLoop | TableRow) -> None:
    # The library also counts scopes; programs do not nest loops as deep as that.
    context.raise_for_loop_limit(loop.length)
    context.loops.append(loop)
    context.scope.push(namespace)


def leave(context: Context) -> None:
    context.scope.pop()
    context.loops.pop()


class _Repeated:
    """What a loop is to the limit of iterations."""

    __slots__ = ("length",)

    def __init__(self, length: int) -> None:
        self.length = length


def repeat(context: RenderContext, count: int) -> None:
    """What is written now is written ``count`` times.  The caller takes it from ``context.loops`` again."""
    context.raise_for_loop_limit(count)
    context.loops.append(_Repeated(count))  # type: ignore[arg-type]


def columns(value: object) -> int:
    try:
        return to_int(value)
    except ValueError:
        return 0


def cell(row: TableRow) -> str:
    return f'<td class="col{row.col}">'


def cell_end(row: TableRow) -> str:
    return f'</td></tr>\n<tr class="row{row.row + 1}">' if row.col_last and not row.last else "</td>"


# -- tags --


def group_name(group: object) -> str:
    return "__UNDEFINED" if is_undefined(group) else str(group)


def cycled(context: Context, group: str, values: list[object]) -> str:
    """Without a group's name the values are the group."""
    index = context.cycle(group or str(values), len(values))
    return "".join((to_liquid_string(values[index], autoescape=False),)) if index < len(values) else ""


def destination(text: str) -> str:
    """The address that a tracked link's HTML writes; a person's data may name a destination, not a script."""
    url = unescape(text).strip()
    return url if url.lower().startswith(WEB_SCHEMES) else "#"


def tracked(context: Context, url: str) -> str:
    mail = context.mail
    return escaped(mail.tracked(url) if mail else url)


def closing(context: Context) -> str:
    mail = context.mail
    return mail.closing() if mail else ""


RUNTIME: dict[str, Any] = {
    "type": type, "str": str, "int": int, "dict": dict, "range": range,
    "Markup": Markup, "Missing": Missing, "Written": Written, "PARTIAL": False, "ONCE": (None,), "NOWHERE": NullIO(),
    "BreakLoop": BreakLoop, "ContinueLoop": ContinueLoop,
    "escaped": escaped, "truthy": truthy, "equal": equal, "less": _lt, "at_most": _le, "contains": _contains,
    "unknown": unknown, "items": items, "whole": whole, "sliced": sliced, "enter_for": enter_for,
    "enter_tablerow": enter_tablerow, "leave": leave, "repeat": repeat, "columns": columns,
    "cell": cell, "cell_end": cell_end,
    "group_name": group_name, "cycled": cycled, "destination": destination, "tracked": tracked, "closing": closing,
}  # fmt: skip
"""All that generated code can name, beside its own constants."""
