"""Liquid for mail: python-liquid, made strict about holes and pure about time.

* A path without a value (absent, or null) is *missing*.  Missing travels through filters and assignments, is false in
  conditions, and ends at ``default``.  Written out, looped over or counted with, it skips the message with
  ``missing: PATH``: never a mail with a hole.  Empty text is a value.  A ``for`` with an ``else`` guards itself.
* In HTML everything written out is escaped, literals too, unless the last word is ``| raw``.  Text escapes nothing.
* Nothing reads the machine's clock, zone or files: ``now`` and the person's zone come with the context.
* Loops, output and variables are bounded; what breaks a bound skips the message.

Three tags of our own are put in by ``compile`` and ask the message being rendered (:class:`Mail`): ``tracked`` around
the value of each href, ``closing`` before ``</body>``; they write nothing without a message, as in a preview.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from html import unescape
from typing import Any, TextIO, cast

from liquid import Environment, Markup, escape
from liquid.ast import BlockNode, Node
from liquid.builtin.content import ContentNode
from liquid.builtin.expressions import Path
from liquid.builtin.expressions.primitive import Blank
from liquid.builtin.output import Output, OutputNode
from liquid.builtin.tags.capture_tag import CaptureNode, CaptureTag
from liquid.builtin.tags.cycle_tag import CycleNode, CycleTag
from liquid.builtin.tags.echo_tag import EchoTag
from liquid.builtin.tags.for_tag import ForNode, ForTag
from liquid.builtin.tags.tablerow_tag import TablerowNode, TablerowTag
from liquid.context import RenderContext
from liquid.exceptions import LiquidError, LiquidSyntaxError
from liquid.parser import get_parser
from liquid.stream import TokenStream
from liquid.stringify import to_liquid_string
from liquid.tag import Tag
from liquid.template import BoundTemplate
from liquid.token import TOKEN_EOF, TOKEN_TAG, Token
from liquid.undefined import Undefined

from heliograph.render.context import BlankOrNil, Buffer, Context, Mail, Missing
from heliograph.render.errors import Skip
from heliograph.render.filters import install

MAX_ITERATIONS = 20_000
"""Of nested loops together: 2,500 lines of a big order, eight times over."""
MAX_VARIABLES = 1_000_000
"""Bytes (``sys.getsizeof``) of everything assigned and captured."""
WEB_SCHEMES = ("http:", "https:", "mailto:", "tel:", "sms:", "#")


# -- nodes that write --


def _written(value: object, what: object, html: bool) -> str:
    if type(value) is str:  # nearly always; the checks below ask abstract classes, which is slow
        return escape(value) if html else value
    if value is None or isinstance(value, Missing | Undefined):
        raise Skip(f"missing: {value.path if isinstance(value, Missing) else what}")
    text = value if isinstance(value, str) else to_liquid_string(value, autoescape=False)
    return escape(text) if html else text


class StrictOutputNode(OutputNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        return buffer.write(_written(self.expression.evaluate(context), self.expression, context.env.autoescape))


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


class StrictForNode(ForNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        if self.default is None:
            _require(self.expression.iterable.evaluate(context))
        return super().render_to_output(context, buffer)


class StrictForTag(ForTag):
    node_class = StrictForNode


class StrictTablerowNode(TablerowNode):
    __slots__ = ()

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        _require(self.expression.iterable.evaluate(context))
        return super().render_to_output(context, buffer)


class StrictTablerowTag(TablerowTag):
    node_class = StrictTablerowNode


def _require(value: object) -> None:
    if isinstance(value, Missing):
        raise Skip(f"missing: {value.path}")


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
        url = unescape(held.getvalue()).strip()
        mail = context.mail if isinstance(context, Context) else None
        if self.literal is None and not url.lower().startswith(WEB_SCHEMES):
            url = "#"  # a person's data may name a destination, not a script
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
        return ClosingNode(stream.eat(TOKEN_TAG))


class RefusedTag(Tag):
    """``include`` and ``render``: there are no partial templates yet."""

    block = False

    def parse(self, stream: TokenStream) -> Node:
        raise LiquidSyntaxError(f"'{stream.current.value}' is not in this version", token=stream.current)


class MailTemplate(BoundTemplate):
    context_class = Context

    def __init__(self, env: Environment, nodes: list[Node], *args: Any, **kwargs: Any) -> None:
        super().__init__(env, nodes, *args, **kwargs)
        static = RenderContext(self)
        for node in nodes:
            _adapt_node(node, static)


class NamedPath(Path):
    """A path of names only: nothing in it to evaluate."""

    __slots__ = ()

    def evaluate(self, context: RenderContext) -> object:
        return context.get(cast(list[object], self.path), token=self.token)


def _adapt_node(node: Node, static: RenderContext) -> None:
    """Our classes in the place of the parser's, where it takes no others."""
    for expression in node.expressions():
        _adapt(expression)
    for child in node.children(static):
        _adapt_node(child, static)


def _adapt(expression: Any) -> None:
    if type(expression) is Path and all(isinstance(segment, str | int) for segment in expression.path):
        expression.__class__ = NamedPath
    for side in ("left", "right"):
        if type(getattr(expression, side, None)) is Blank:
            setattr(expression, side, BlankOrNil(expression.token))
    for child in expression.children():
        _adapt(child)


class MailEnvironment(Environment):
    template_class = MailTemplate
    loop_iteration_limit = MAX_ITERATIONS
    local_namespace_limit = MAX_VARIABLES


_TAGS = (
    StrictOutput, StrictEchoTag, StrictCycleTag, StrictCaptureTag, StrictForTag, StrictTablerowTag,
    TrackedTag, ClosingTag,
)  # fmt: skip


def environment(*, html: bool) -> Environment:
    """The environment of the HTML part, or of the text part and the subject."""
    env = MailEnvironment(autoescape=html)
    for tag in _TAGS:
        env.add_tag(tag)
    for name in ("include", "render"):
        env.tags[name] = RefusedTag(env)
    install(env, html=html)
    return env


def render(
    template: BoundTemplate, names: Mapping[str, object], *, mail: Mail | None = None, zone: tzinfo = UTC
) -> str:
    """The text a template makes of these names; raises :class:`Skip` and nothing else."""
    context = Context(template, globals=names)
    context.mail = mail
    context.zone = zone
    buffer = Buffer()
    try:
        template.render_with_context(context, cast(TextIO, buffer))
    except LiquidError as error:
        raise Skip(f"liquid: {sentence(error)}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # A filter met a value it was not made for: this person's data, not our program, is at fault.
        raise Skip(f"liquid: {error}") from error
    return buffer.getvalue()


def sentence(error: LiquidError) -> str:
    """What python-liquid says, without its drawing of the source."""
    return " ".join(str(error.message or type(error).__name__).split())


def line_of(error: LiquidError) -> int | None:
    """The line (from 1) that the error is about."""
    if error.token is None or error.token.start_index < 0:
        return None
    return error.token.source.count("\n", 0, error.token.start_index) + 1
