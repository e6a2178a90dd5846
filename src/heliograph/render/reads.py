"""What a template reads: every path from the outside, loops and assignments seen through.

``{% for p in event.properties.products %}{{ p.name }}`` reads ``event.properties.products.*.name``: a schema can rule
that out, and ``check`` then says so.
"""

from collections.abc import Iterator
from typing import Any

from liquid.ast import Node
from liquid.builtin.expressions import FilteredExpression, LoopExpression, Path
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.for_tag import ForNode
from liquid.builtin.tags.tablerow_tag import TablerowNode
from liquid.context import RenderContext
from liquid.expression import Expression
from liquid.template import BoundTemplate

Segments = tuple[str | None, ...]
"""Names; None is any element, or one that only rendering tells."""
Scope = dict[str, Segments | None]
"""Names of the template's own: what they stand for, None when that cannot be said."""


def reads(template: BoundTemplate) -> Iterator[tuple[Segments, int]]:
    """(path, offset in the source) in order of appearance."""
    static = RenderContext(template)
    scope: Scope = {}
    for node in template.nodes:
        yield from _node(node, scope, static)


def dotted(segments: Segments) -> str:
    """In the contract's notation: dots between names, ``\\.`` for a dot in one, ``*`` for any element."""
    return ".".join("*" if segment is None else segment.replace(".", "\\.") for segment in segments)


def _node(node: Node, scope: Scope, static: RenderContext) -> Iterator[tuple[Segments, int]]:
    for expression in node.expressions():
        yield from _expression(expression, scope)
    for name in node.template_scope():
        scope[str(name)] = _assigned(node, scope)
    inner = {**scope, **{str(name): None for name in node.block_scope()}}
    if isinstance(node, ForNode | TablerowNode) and (items := _iterated(node.expression, scope)) is not None:
        inner[node.expression.identifier] = (*items, None)
    for child in node.children(static):
        yield from _node(child, inner, static)
    # What a loop or branch assigns is known behind it too.
    own = {str(name) for name in node.block_scope()}
    scope.update({name: value for name, value in inner.items() if name not in own})


def _expression(expression: Expression, scope: Scope) -> Iterator[tuple[Segments, int]]:
    if isinstance(expression, Path) and (path := _resolved(expression, scope)) is not None:
        yield path, expression.token.start_index
    for child in expression.children():
        yield from _expression(child, scope)


def _resolved(path: Path, scope: Scope) -> Segments | None:
    segments: Segments = tuple(segment if isinstance(segment, str) else None for segment in path.path)
    root = segments[0]
    if root is None or root not in scope:
        return segments
    known = scope[root]
    return None if known is None else (*known, *segments[1:])


def _iterated(loop: LoopExpression, scope: Scope) -> Segments | None:
    return _resolved(loop.iterable, scope) if isinstance(loop.iterable, Path) else None


def _assigned(node: Node, scope: Scope) -> Segments | None:
    value: Any = node.expression if isinstance(node, AssignNode) else None
    if isinstance(value, FilteredExpression) and not value.filters and isinstance(value.left, Path):
        return _resolved(value.left, scope)
    return None
