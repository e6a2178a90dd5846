"""The tags that are ours, and python-liquid's where mail needs them stricter: the nodes of a parsed template.

``tracked`` (around the value of each href) and ``closing`` (before ``</body>``) are put in by ``compile`` and ask the
message being rendered (:class:`~heliograph.render.context.Mail`); without one, as in a preview, they write nothing of
their own.
"""

from collections.abc import Iterable
from html import unescape
from typing import Any, TextIO, cast

from liquid import Markup, escape
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.builtin.tags.tablerow_tag import TablerowNode, TablerowTag
from liquid.context import RenderContext
from liquid.exceptions import LiquidSyntaxError
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.token import TOKEN_EOF, TOKEN_TAG, Token

from heliograph.render.context import Buffer, Context
from heliograph.render.liquid_runtime import destination, repeat, require, written


class StrictOutputNode(OutputNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(written(self.expression.evaluate(context), self.expression, context.env.autoescape))


class StrictOutput(Output):
    node_class = StrictOutputNode


class StrictEchoTag(EchoTag):
    node_class = StrictOutputNode  # type: ignore[assignment]


class StrictCycleNode(CycleNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        held = Buffer()
        super().render_to_output(context, cast(TextIO, held))
        text = held.getvalue()
        return buffer.write(escape(text) if context.env.autoescape else text)


class StrictCycleTag(CycleTag):
    node_class = StrictCycleNode


class StrictCaptureNode(CaptureNode):
    """What was captured was escaped as it was written."""

    __slots__ = ()

    def _assign(self, context: RenderContext, buf: Any) -> None:
        context.assign(self.name, Markup(buf.getvalue()) if context.env.autoescape else buf.getvalue())


class StrictCaptureTag(CaptureTag):
    node_class = StrictCaptureNode


class StrictWhenNode(MultiExpressionBlockNode):
    """A ``when`` writes its block once for each of its values that match: a loop, too, and counted with loops."""

    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        count = self.expression.evaluate(context).count(True)
        if not count:
            return -1
        repeat(context, count)
        try:
            return sum(self.block.render(context, buffer) for _ in range(count))
        finally:
            context.loops.pop()


class StrictForNode(ForNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        if self.default is None:
            require(self.expression.iterable.evaluate(context))
        return super().render_to_output(context, buffer)


class StrictForTag(ForTag):
    node_class = StrictForNode


class StrictTablerowNode(TablerowNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        require(self.expression.iterable.evaluate(context))
        return super().render_to_output(context, buffer)


class StrictTablerowTag(TablerowTag):
    node_class = StrictTablerowNode


# -- tags of our own --


class TrackedNode(Node):
    """``{% tracked %}URL{% endtracked %}``, inside a quoted href."""

    __slots__ = ("block", "literal")

    def __init__(self, token: Token, block: BlockNode) -> None:
        super().__init__(token)
        self.block = block
        self.blank = False
        contents = [node.text if isinstance(node, ContentNode) else None for node in block.nodes]
        self.literal = "".join(text for text in contents if text) if None not in contents else None

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        held = Buffer()
        self.block.render(context, cast(TextIO, held))
        url = unescape(held.getvalue()).strip() if self.literal is not None else destination(held.getvalue())
        mail = context.mail if isinstance(context, Context) else None
        return buffer.write(escape(mail.tracked(url) if mail else url))

    def children(self, static_context: RenderContext, *, include_partials: bool = True) -> Iterable[Node]:
        yield self.block


class TrackedTag(Tag):
    name = "tracked"
    end = "endtracked"
    _ends = frozenset(("endtracked", TOKEN_EOF))

    def parse(self, stream: TokenStream) -> Node:
        token = stream.eat(TOKEN_TAG)
        block = get_parser(self.env).parse_block(stream, self._ends)
        stream.expect(TOKEN_TAG, value=self.end)
        return TrackedNode(token, block)


class ClosingNode(Node):
    __slots__ = ()

    def __init__(self, token: Token) -> None:
        super().__init__(token)
        self.blank = False

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        mail = context.mail if isinstance(context, Context) else None
        return buffer.write(mail.closing()) if mail else 0


class ClosingTag(Tag):
    name = "closing"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        return ClosingNode(stream.expect(TOKEN_TAG))


class RefusedTag(Tag):
    """``include`` and ``render``: there are no partial templates yet."""

    block = False

    def parse(self, stream: TokenStream) -> Node:
        raise LiquidSyntaxError(f"'{stream.current.value}' is not in this version", token=stream.current)


TAGS = (
    StrictOutput, StrictEchoTag, StrictCycleTag, StrictCaptureTag, StrictForTag, StrictTablerowTag,
    TrackedTag, ClosingTag,
)  # fmt: skip
REFUSED = ("include", "render")
