"""Liquid compiled: python-liquid's syntax tree as one function of Python, made when a template is first rendered.

What the interpreter asks at every node of every message (what kind of node is this, which filter is that, where does
this name come from, is it blank) is answered once.  Constant text is joined, a field of a dict is a look-up and an
escape, and nothing else is left between them.  :func:`compile_nodes` writes source like ::

    def program(context, o):
        outside, own, counters, item = context.globals, context.locals, context.counters, context.item
        g0 = outside.get('profile')
        o += ('<p>Hello ', (escaped(v) if type(v := (g0['name'] if ... )) is str else written(v)))

The context is the interpreter's own (:class:`~heliograph.render.context.Context`), so the two can take turns: a node
that is not covered here is a call of its own ``render``, and a template that is too large for us (:data:`MAX_VISITED`)
stays interpreted as a whole.  python-liquid is the reference: output, reasons of skips and their order are the same
(tests/render/test_liquid_program.py walks every tag and filter and thousands of random templates).

What an author wrote never becomes code: see :mod:`liquid_expressions`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from html import unescape
from types import CodeType, FunctionType
from typing import Any, ClassVar

from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import LoopExpression
from liquid.builtin.expressions.primitive import StringLiteral
from liquid.builtin.tags.assign_tag import AssignNode
from liquid.builtin.tags.case_tag import CaseNode, MultiExpressionBlockNode
from liquid.builtin.tags.comment_tag import CommentNode
from liquid.builtin.tags.decrement_tag import DecrementNode
from liquid.builtin.tags.doc_tag import DocNode
from liquid.builtin.tags.for_tag import BreakNode, ContinueNode
from liquid.builtin.tags.if_tag import IfNode
from liquid.builtin.tags.ifchanged_tag import IfChangedNode
from liquid.builtin.tags.increment_tag import IncrementNode
from liquid.builtin.tags.inline_comment_tag import InlineCommentNode
from liquid.builtin.tags.liquid_tag import LiquidNode
from liquid.builtin.tags.unless_tag import UnlessNode
from liquid.context import RenderContext
from liquid.environment import Environment
from liquid.expression import Expression
from liquid.template import BoundTemplate

from heliograph.render.context import MAX_OUTPUT, Context
from heliograph.render.liquid_expressions import Expressions
from heliograph.render.liquid_names import LOOP_KEYS, ROW_KEYS, Names, Uncovered, literal
from heliograph.render.liquid_runtime import RUNTIME, Written, written_html, written_text
from heliograph.render.liquid_source import Code, Emitter
from heliograph.render.liquid_tags import (
    ClosingNode,
    StrictCaptureNode,
    StrictCycleNode,
    StrictForNode,
    StrictOutputNode,
    StrictTablerowNode,
    TrackedNode,
)

Program = Callable[[Context, Written], None]

MAX_VISITED = 10_000
"""Nodes and expressions of a template: some 45 us each to compile, so half a second at most; a long letter has 300."""


class TooLarge(Exception):
    """More than :data:`MAX_VISITED`."""


def compile_nodes(nodes: Sequence[Node], env: Environment) -> Program | None:
    """The function that writes what these nodes write, or None when they are too much for one."""
    try:
        compiler = _Compiler(env, nodes)
        code = compile(compiler.source(nodes), "<liquid>", "exec", dont_inherit=True)
    except Exception:
        return None  # too large for us or for CPython; or our mistake, which must not keep mail from being sent
    own = {"written": written_html if env.autoescape else written_text}
    function = next(const for const in code.co_consts if isinstance(const, CodeType))
    return FunctionType(function, {"__builtins__": {}, **RUNTIME, **own, **compiler.expressions.constants})


def source_of(nodes: Sequence[Node], env: Environment) -> str:
    """The source that :func:`compile_nodes` compiles, for who wants to read it."""
    return _Compiler(env, nodes).source(nodes)


class _Compiler(Emitter):
    def __init__(self, env: Environment, nodes: Sequence[Node]) -> None:
        super().__init__()
        every = list(_walk(nodes, RenderContext(BoundTemplate(env, []))))
        self.html = env.autoescape
        self.continues = any(_continues(expression) for node in every for expression in node.expressions())
        """Whether a loop goes on where one before ended, so that each must remember where it did."""
        self.names = Names(frozenset(str(name) for node in every for name in node.template_scope()))
        self.expressions = Expressions(env, self.names)
        self.jump: tuple[str, str] | None = None
        """How ``break`` and ``continue`` are written here; None: they are raised."""
        self.raises = False
        """Whether something since the loop began may raise them."""

    def source(self, nodes: Sequence[Node]) -> str:
        self.nodes(nodes)
        self.flush()
        hoisted = [f" {variable} = outside.get({literal(name)})" for name, variable in self.names.hoisted.items()]
        return "\n".join(("def program(context, o):", *_PROLOGUE, *hoisted, *self.lines, ""))

    # -- nodes --

    def nodes(self, nodes: Sequence[Node]) -> None:
        for node in nodes:
            self.node(node)

    def node(self, node: Node) -> None:
        self.expressions.visited += 1
        if self.expressions.visited > MAX_VISITED:
            raise TooLarge
        mark, depth, jump = self.mark(), self.names.depth, self.jump
        try:
            self._compiled(node)
        except Uncovered:
            self.rewind(mark)
            self.names.cut(depth)
            self.line(f"{self.expressions.constant(node)}.render(context, {self.out or 'NOWHERE'})")
            self.jump, self.raises = jump, True

    def _compiled(self, node: Node) -> None:
        method = self._NODES.get(type(node))
        if method is None:
            raise Uncovered
        method(self, node)

    def block(self, block: BlockNode) -> None:
        suppressed = block.blank and self.expressions.env.suppress_blank_control_flow_blocks
        with self.into(None if suppressed else self.out):
            self.nodes(block.nodes)

    def held(self, block: BlockNode) -> str:
        """Source of the text that a block writes."""
        held = f"h{self.number()}"
        self.line(f"{held} = Written()")
        with self.into(held):
            self.block(block)
        return f"{held}.text()"

    def nothing(self, _: Node) -> None:
        """Comments."""

    def content(self, node: ContentNode) -> None:
        self.write(node.text)

    def output(self, node: StrictOutputNode) -> None:
        known = self.expressions.known(self.expressions.bare(node.expression))
        if known is not None:
            text = written_html(known) if self.html else written_text(known)
            self.write("".join((text,)))
            return
        shown = "escaped(v)" if self.html else "v"
        self.write(Code(f"({shown} if type(v := {self.expressions.raw(node.expression)}) is str else written(v))"))

    def assign(self, node: AssignNode) -> None:
        self.line(f"context.assign({literal(node.name)}, {self.expressions.value(node.expression)})")

    def capture(self, node: StrictCaptureNode) -> None:
        text = self.held(node.block)
        self.line(f"context.assign({literal(node.name)}, {f'Markup({text})' if self.html else text})")

    def increment(self, node: IncrementNode) -> None:
        self.write(Code(f"str(context.increment({literal(node.name)}))"))

    def decrement(self, node: DecrementNode) -> None:
        self.write(Code(f"str(context.decrement({literal(node.name)}))"))

    def cycle(self, node: StrictCycleNode) -> None:
        group = f"group_name({self.expressions.value(node.group)})" if node.group else "''"
        values = ", ".join(map(self.expressions.value, node.args))
        cycled = f"cycled(context, {group}, [{values}])"
        self.write(Code(f"escaped({cycled})" if self.html else cycled))

    def if_changed(self, node: IfChangedNode) -> None:
        text = f"x{self.number()}"
        self.line(f"{text} = {self.held(node.block)}")
        with self.suite(f"if context.ifchanged({text}):"):
            self.write(Code(text))

    def liquid(self, node: LiquidNode) -> None:
        self.block(node.block)

    def closing(self, _: ClosingNode) -> None:
        self.write(Code("closing(context)"))

    def tracked(self, node: TrackedNode) -> None:
        if node.literal is None:
            url = f"destination({self.held(node.block)})"
        elif len(node.literal) <= MAX_OUTPUT:
            url = literal(unescape(node.literal).strip())
        else:
            raise Uncovered
        self.write(Code(f"tracked(context, {url})"))

    # -- branches --

    def if_(self, node: IfNode | UnlessNode) -> None:
        word = "if not" if isinstance(node, UnlessNode) else "if"
        with self.suite(f"{word} {self.expressions.test(node.condition)}:"):
            self.block(node.consequence)
        for alternative in node.alternatives:
            with self.suite(f"elif {self.expressions.test(alternative.expression)}:"):
                self.block(alternative.block)
        if node.default:
            with self.suite("else:"):
                self.block(node.default)

    def case(self, node: CaseNode) -> None:
        """Every ``when`` that matches is written, once for each of its values that does; ``else`` when none did yet."""
        unmatched = f"d{self.number()}"
        self.line(f"{unmatched} = True")
        for block in node.blocks:
            if isinstance(block, MultiExpressionBlockNode):
                self._when(block, unmatched)
            else:
                with self.suite(f"if {unmatched}:"):
                    self.block(block)

    def _when(self, node: MultiExpressionBlockNode, unmatched: str) -> None:
        left, count = self.expressions.raw(node.expression.left), f"m{self.number()}"
        values = [self.expressions.raw(value) for value in node.expression.expressions]
        self.line(f"l = {left}")
        self.line(f"{count} = ({''.join(f'equal(l, {value}), ' for value in values)}).count(True)")
        with self.suite(f"if {count}:"):
            self.line(f"{unmatched} = False")
            if len(values) == 1:
                self.block(node.block)
                return
            jump, self.jump = self.jump, None
            self.line(f"repeat(context, {count})")
            with self.suite("try:", blocks=1), self.suite(f"for _ in range({count}):", blocks=1):
                self.block(node.block)
            with self.suite("finally:"):
                self.line("context.loops.pop()")
            self.jump = jump

    # -- loops --

    def for_(self, node: StrictForNode) -> None:
        loop, number = node.expression, self.number()
        name, helper = literal(loop.identifier), f"f{number}"
        title = literal(f"{loop.identifier}-{loop.iterable}")
        self.line(f"e{number} = enter_for(context, {name}, {title}, {self._items(loop, node.default is None)})")
        with self.suite(f"if e{number} is not None:"):
            self.line(f"{helper}, n{number} = e{number}")
            self.names.push({"forloop": helper, str(loop.identifier): f"i{number}"}, helper, LOOP_KEYS)
            with self.suite(f"for i{number} in {helper}.it:", blocks=2):
                self.line(f"{helper}._index += 1")
                self.line(f"n{number}[{name}] = i{number}")
                self._body(node.block, "break", "continue")
            with self.suite("else:"):
                self.line(f"{helper}._index += 1")  # the library steps once more, to find the end
            self.names.pop()
            self.line("leave(context)")
        if node.default:
            with self.suite("else:"):
                self.block(node.default)

    def tablerow(self, node: StrictTablerowNode) -> None:
        loop, number = node.expression, self.number()
        name, helper = literal(loop.identifier), f"r{number}"
        self.line(f"e{number} = {self._items(loop, True)}")
        with self.suite(f"if e{number}[1]:"):
            columns = f"columns({self.expressions.value(loop.cols)})" if loop.cols else f"e{number}[1]"
            self.line(f"{helper}, n{number} = enter_tablerow(context, {name}, e{number}, {columns})")
            self.write('<tr class="row1">\n')
            self.names.push({"tablerowloop": helper, str(loop.identifier): f"i{number}"}, helper, ROW_KEYS)
            with self.suite(f"for i{number} in {helper}:", blocks=1):
                self.line(f"n{number}[{name}] = i{number}")
                self.write(Code(f"cell({helper})"))
                self.line(f"b{number} = False")
                with self.suite("for _ in ONCE:", blocks=2):
                    self._body(node.block, f"b{number} = True; break", "break")
                self.write(Code(f"cell_end({helper})"))
                with self.suite(f"if b{number}:"):
                    self.line("break")
            self.names.pop()
            self.line("leave(context)")
            self.write("</tr>\n")

    def _items(self, loop: LoopExpression, required: bool) -> str:
        known, value = self.expressions.constant(loop), self.expressions.value
        source = f"items({known}, {value(loop.iterable)}, context, {required})"
        if not (loop.limit or loop.offset or loop.reversed or self.continues):
            return source
        limit = self._whole(loop, loop.limit)
        offset = "'continue'" if _continues(loop) else self._whole(loop, loop.offset)
        return f"sliced({known}, {source}, context, {limit}, {offset})"

    def _whole(self, loop: LoopExpression, side: Expression | None) -> str:
        if side is None:
            return "None"
        known = self.expressions.constant
        return f"whole({known(loop)}, {self.expressions.value(side)}, {known(side)})"

    def _body(self, block: BlockNode, leave: str, again: str) -> None:
        before = self.jump, self.raises, self.wrote
        self.jump, self.raises, self.wrote = (leave, again), False, False
        start = len(self.lines)
        self.block(block)
        self.flush()
        self.checked(start)
        if self.raises:
            self.caught(start, {"BreakLoop": leave, "ContinueLoop": again})
        self.jump, self.raises, self.wrote = before

    def jump_(self, node: BreakNode | ContinueNode) -> None:
        breaks = isinstance(node, BreakNode)
        if self.jump is not None:
            self.line(self.jump[0 if breaks else 1])
            return
        self.raises = True
        self.line("raise BreakLoop('break')" if breaks else "raise ContinueLoop('continue')")

    _NODES: ClassVar[dict[type[Node], Callable[["_Compiler", Any], None]]] = {
        ContentNode: content, StrictOutputNode: output, AssignNode: assign, StrictCaptureNode: capture,
        IncrementNode: increment, DecrementNode: decrement, StrictCycleNode: cycle, IfChangedNode: if_changed,
        LiquidNode: liquid, ClosingNode: closing, TrackedNode: tracked, IfNode: if_, UnlessNode: if_, CaseNode: case,
        StrictForNode: for_, StrictTablerowNode: tablerow, BreakNode: jump_, ContinueNode: jump_,
        CommentNode: nothing, InlineCommentNode: nothing, DocNode: nothing,
    }  # fmt: skip


_PROLOGUE = (
    " outside = context.globals",
    " own = context.locals",
    " counters = context.counters",
    " item = context.item",
)


def _continues(expression: Expression) -> bool:
    offset = expression.offset if isinstance(expression, LoopExpression) else None
    return isinstance(offset, StringLiteral) and offset.value == "continue"


def _walk(nodes: Iterable[Node], static: RenderContext) -> Iterator[Node]:
    for node in nodes:
        yield node
        yield from _walk(node.children(static), static)
