"""Liquid for mail: python-liquid, made strict about holes and pure about time, and compiled.

* A path without a value (absent, or null) is *missing*.  Missing travels through filters and assignments, is false in
  conditions, and ends at ``default``.  Written out, looped over or counted with, it skips the message with
  ``missing: PATH``: never a mail with a hole.  Empty text is a value.  A ``for`` with an ``else`` guards itself.
* In HTML everything written out is escaped, literals too, unless the last word is ``| raw``.  Text escapes nothing.
* Nothing reads the machine's clock, zone or files: ``now`` and the person's zone come with the context.
* Loops, output and variables are bounded; what breaks a bound skips the message.

A template that is rendered is compiled first, once (:mod:`liquid_program`).  :func:`interpret` is the same by
python-liquid alone: the reference, what remains for a template that is too large to compile, and what says why when a
program fails.  So a reason that is recorded is always python-liquid's, and an error of the compiler's own costs time,
not mail.
"""

from collections.abc import Mapping
from datetime import UTC, tzinfo
from functools import cached_property
from typing import Any, TextIO, cast

from liquid import Environment
from liquid.ast import Node
from liquid.builtin.expressions import Path
from liquid.builtin.expressions.primitive import Blank, RangeLiteral
from liquid.builtin.tags.case_tag import MultiExpressionBlockNode
from liquid.context import RenderContext
from liquid.exceptions import LiquidError
from liquid.template import BoundTemplate

from heliograph.render.context import MAX_ITERATIONS, BlankOrNil, Buffer, Context, Mail, NamedPath, ShortRange
from heliograph.render.errors import Skip
from heliograph.render.filters import install
from heliograph.render.liquid_program import Program, compile_nodes
from heliograph.render.liquid_runtime import Written
from heliograph.render.liquid_tags import REFUSED, TAGS, RefusedTag, StrictWhenNode

MAX_VARIABLES = 1_000_000
"""Bytes (``sys.getsizeof``) of everything assigned and captured."""


class MailTemplate(BoundTemplate):
    """A parsed template.  ``program`` renders it, or is None when it is too large to compile; it is made when it is
    asked for and kept as long as the template."""

    context_class = Context

    def __init__(self, env: Environment, nodes: list[Node], *args: Any, **kwargs: Any) -> None:
        super().__init__(env, nodes, *args, **kwargs)
        static = RenderContext(self)
        for node in nodes:
            _adapt_node(node, static)

    @cached_property
    def program(self) -> Program | None:
        return compile_nodes(self.nodes, self.env)


def _adapt_node(node: Node, static: RenderContext) -> None:
    """Our classes in the place of the parser's, where it takes no others."""
    if type(node) is MultiExpressionBlockNode:
        node.__class__ = StrictWhenNode
    for expression in node.expressions():
        _adapt(expression)
    for child in node.children(static):
        _adapt_node(child, static)


def _adapt(expression: Any) -> None:
    if type(expression) is Path and all(isinstance(segment, str | int) for segment in expression.path):
        expression.__class__ = NamedPath
    elif type(expression) is RangeLiteral:
        expression.__class__ = ShortRange
    for side in ("left", "right"):
        if type(getattr(expression, side, None)) is Blank:
            setattr(expression, side, BlankOrNil(expression.token))
    for child in expression.children():
        _adapt(child)


class MailEnvironment(Environment):
    template_class = MailTemplate
    loop_iteration_limit = MAX_ITERATIONS
    local_namespace_limit = MAX_VARIABLES


def environment(*, html: bool) -> Environment:
    """The environment of the HTML part, or of the text part and the subject."""
    env = MailEnvironment(autoescape=html)
    for tag in TAGS:
        env.add_tag(tag)
    for name in REFUSED:
        env.tags[name] = RefusedTag(env)
    install(env, html=html)
    return env


def render(
    template: BoundTemplate, names: Mapping[str, object], *, mail: Mail | None = None, zone: tzinfo = UTC
) -> str:
    """The text a template makes of these names; raises :class:`Skip` and nothing else."""
    program = template.program if isinstance(template, MailTemplate) else None
    if program is not None:
        try:
            return _run(program, _context(template, names, mail, zone))
        except Exception:
            pass  # whatever it was: now python-liquid says what is wrong, or finds nothing
    return interpret(template, names, mail=mail, zone=zone)


def interpret(
    template: BoundTemplate, names: Mapping[str, object], *, mail: Mail | None = None, zone: tzinfo = UTC
) -> str:
    """:func:`render` by python-liquid alone: the reference."""
    buffer = Buffer()
    try:
        template.render_with_context(_context(template, names, mail, zone), cast(TextIO, buffer))
    except LiquidError as error:
        raise Skip(f"liquid: {sentence(error)}") from error
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # A filter met a value it was not made for: this person's data, not our program, is at fault.
        raise Skip(f"liquid: {error}") from error
    except MemoryError as error:
        raise Skip("liquid: more than memory holds") from error
    return buffer.getvalue()


def _context(template: BoundTemplate, names: Mapping[str, object], mail: Mail | None, zone: tzinfo) -> Context:
    context = Context(template, globals=names)
    context.mail = mail
    context.zone = zone
    return context


def _run(program: Program, context: Context) -> str:
    written = Written()
    context.scope.push({"partial": False})  # as render_with_context does
    program(context, written)
    return written.text()


def sentence(error: LiquidError) -> str:
    """What python-liquid says, without its drawing of the source."""
    return " ".join(str(error.message or type(error).__name__).split())


def line_of(error: LiquidError) -> int | None:
    """The line (from 1) that the error is about."""
    if error.token is None or error.token.start_index < 0:
        return None
    return error.token.source.count("\n", 0, error.token.start_index) + 1
