"""From a template folder's contents to what a plan carries: done once, when it is published.

MJML becomes HTML, styles go inline, the preheader and our own tags are put in, the text part is derived; what Liquid
reads is listed.  Everything that could go wrong for every message is found here, with file and line.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import css_inline
import mrml
import msgspec
from liquid import Environment
from liquid.exceptions import LiquidError
from liquid.template import BoundTemplate

from heliograph.decide.times import ms
from heliograph.events.ids import make_id
from heliograph.render.enclosures import Enclosures
from heliograph.render.errors import Problem, TemplateError, nearest
from heliograph.render.liquid import environment, line_of, sentence
from heliograph.render.protect import DROPPED, Protected, protect
from heliograph.render.reads import Segments, dotted, reads
from heliograph.render.text import derive

COMPILER = 1
"""Changes when the same source compiles to something else: part of a template's version."""
MESSAGE = "message.yaml"
NAMES = ("event", "last", "now", "profile", "run", "trigger", "urls", "webhook")
"""What Liquid sees (contract, section 6)."""
LATER = ("coupon", "item", "items", "recommendations")
URLS = ("preferences", "unsubscribe")
LATER_URLS = ("confirm", "view")
CHOICES = {"class": ("marketing", "transactional"), "on_unknown": ("hold", "resend")}
DEFAULTS = {"class": "marketing", "on_unknown": "hold", "sender": "default"}
KEYS = ("attachments", "class", "freshness", "on_unknown", "preheader", "sender", "subject")
MAX_SOURCE = 500_000
"""Characters of one file of a template."""
HIDDEN = "display:none;font-size:1px;line-height:1px;max-height:0;max-width:0;opacity:0;overflow:hidden;mso-hide:all"

_HTML = environment(html=True)
_TEXT = environment(html=False)
_HREF = re.compile(r"""(<(?:a|area|v:roundrect)\b[^>]*?\shref\s*=\s*)(["'])(.*?)\2""", re.IGNORECASE | re.DOTALL)
_BODY_OPEN = re.compile(r"<body\b[^>]*>", re.IGNORECASE)
_BODY_CLOSE = re.compile(r"</body\s*>", re.IGNORECASE)
_STYLE = re.compile(r"<style\b", re.IGNORECASE)
_POSITION = re.compile(r" in root template(?: at position (\d+):\d+)?$")
_INLINER = css_inline.CSSInliner(keep_at_rules=True, keep_link_tags=True, load_remote_stylesheets=False)


def compile_template(
    name: str,
    message: dict[str, Any],
    body: bytes | str,
    kind: str,
    text: str | None = None,
    files: Mapping[str, bytes] | None = None,
) -> dict[str, Any]:
    """The compiled template of a plan document (JSON-able).

    ``message``: ``message.yaml`` as read; ``body``: ``body.mjml`` or ``body.html``, which ``kind`` (``mjml``,
    ``html``) tells; ``text``: ``body.txt``, or None to derive it; ``files``: what else lies in the template's folder,
    by its path there.  Raises :class:`TemplateError` with every problem.
    """
    return _Compilation(name, message, body, kind, text, files or {}).run()


def refuse_locales(paths: Iterable[str]) -> None:
    """``locales/`` beside a template: raises :class:`TemplateError`."""
    if found := sorted(paths):
        raise TemplateError([Problem(found[0], None, "locales/ is not in this version")])


class _Compilation:
    def __init__(
        self,
        name: str,
        message: dict[str, Any],
        body: bytes | str,
        kind: str,
        text: str | None,
        files: Mapping[str, bytes],
    ) -> None:
        self.name = name
        self.message = message
        self.kind = kind
        self.body_file = f"body.{kind}"
        self.problems: list[Problem] = []
        self.enclosures = Enclosures(files, self.problems)
        self.body = self._decoded(body)
        self.text = text
        self.paths: dict[str, None] = {}
        self.last: dict[str, None] = {}

    def run(self) -> dict[str, Any]:
        fields = self._fields()
        sources = [(MESSAGE, fields["subject"], _TEXT), (MESSAGE, fields["preheader"], _HTML)]
        sources += [(self.body_file, self.body, _HTML), ("body.txt", self.text or "", _TEXT)]
        for file, source, env in sources:
            self._check(file, source, env)
        self._stop()
        protected = self._protect()
        markup = self._markup(protected)
        self.problems += protected.lost(markup, self.body_file)
        self._stop()
        markup = self.enclosures.show(markup, protected, self.body, self.body_file)
        html, links = _finish(markup, protected, fields["preheader"])
        plain = derive(markup, protected) if self.text is None else self.text
        self._parse(self.body_file, html, _HTML, compiled=True)
        self._parse("body.txt", plain, _TEXT, compiled=True)
        self._stop()
        return {
            "name": self.name,
            "version": self._version(),
            **fields,
            "html": html,
            "text": plain,
            "links": links,
            "last": sorted(self.last),
            "paths": sorted(self.paths),
            **self.enclosures.made(),
        }

    # -- problems --

    def _stop(self) -> None:
        if self.problems:
            raise TemplateError(self.problems)

    def _problem(self, file: str, line: int | None, text: str) -> None:
        self.problems.append(Problem(file, line, text))

    def _decoded(self, body: bytes | str) -> str:
        if self.kind not in ("mjml", "html"):
            raise ValueError(f"a body is mjml or html, not {self.kind!r}")
        try:
            source = body.decode("utf-8-sig") if isinstance(body, bytes) else body
        except UnicodeDecodeError as error:
            line = bytes(error.object[: error.start]).count(b"\n") + 1
            raise TemplateError([Problem(self.body_file, line, "this is not UTF-8")]) from error
        return source.replace("\r\n", "\n")

    # -- message.yaml --

    def _fields(self) -> dict[str, Any]:
        for key in self.message:
            if key not in KEYS:
                self._problem(MESSAGE, None, f"unknown key {key!r}{nearest(str(key), KEYS)}")
        values = {key: self._string(key) for key in ("subject", "preheader", "sender", "class", "on_unknown")}
        if not values["subject"].strip():
            self._problem(MESSAGE, None, "subject: a message needs one")
        for key, allowed in CHOICES.items():
            if values[key] not in allowed:
                self._problem(MESSAGE, None, f"{key}: {values[key]!r} is none of {', '.join(allowed)}")
        if (attachments := self.message.get("attachments")) is not None:
            self.enclosures.attach(attachments, MESSAGE)
        return {**values, "freshness_ms": self._freshness()}

    def _string(self, key: str) -> str:
        value = self.message.get(key)
        if value is None:
            return DEFAULTS.get(key, "")
        if not isinstance(value, str):
            self._problem(MESSAGE, None, f"{key}: expected text, found {type(value).__name__}")
            return DEFAULTS.get(key, "-")
        return value

    def _freshness(self) -> int | None:
        value = self.message.get("freshness")
        if value is None:
            return None
        try:
            length = ms(value) if isinstance(value, str) else 0
        except ValueError as error:
            self._problem(MESSAGE, None, f"freshness: {error}")
            return None
        if length <= 0:
            self._problem(MESSAGE, None, f"freshness: {value!r} is no length of time, like PT6H")
        return length

    # -- Liquid --

    def _parse(self, file: str, source: str, env: Environment, *, compiled: bool = False) -> BoundTemplate | None:
        try:
            return env.from_string(source)
        except LiquidError as error:
            if compiled:
                said = f"the Liquid does not survive the compilation of the markup: {sentence(error)}"
                self._problem(file, None, said)
            else:
                self._problem(file, line_of(error), f"Liquid: {sentence(error)}{_bracket_hint(error)}")
            return None

    def _check(self, file: str, source: str, env: Environment) -> None:
        """Parse one source as its author wrote it, and note what it reads."""
        if len(source) > MAX_SOURCE:
            self._problem(file, None, f"more than {MAX_SOURCE:,} characters")
            return
        template = self._parse(file, source, env)
        if template is None:
            return
        self._check_filters(file, source, template)
        for segments, at in reads(template):
            self._note(file, source.count("\n", 0, at) + 1, segments)

    def _check_filters(self, file: str, source: str, template: BoundTemplate) -> None:
        for name, spans in template.analyze().filters.items():
            if name not in template.env.filters:
                hint = "; write `raw`" if name == "safe" else nearest(name, template.env.filters)
                line = source.count("\n", 0, spans[0].index) + 1
                self._problem(file, line, f"Liquid: there is no filter {name!r}{hint}")

    def _note(self, file: str, line: int, segments: Segments) -> None:
        root, rest = segments[0], segments[1:]
        first = rest[0] if rest else None
        if root in LATER:
            self._problem(file, line, f"`{root}` is not in this version")
        elif root not in NAMES:
            hint = nearest(str(root), NAMES) or f"; did you mean 'profile.{root}'?"
            self._problem(file, line, f"nothing provides `{root}`{hint}")
        elif root == "urls" and first not in URLS:
            self._problem(file, line, _urls_sentence(first))
        elif root == "last" and first is None:
            self._problem(file, line, '`last` needs the name of an event as it stands: last["Product Viewed"]')
        else:
            if root == "last":
                self.last[str(first)] = None
            self.paths[dotted(segments)] = None

    # -- markup --

    def _protect(self) -> Protected:
        protected = protect(self.body, self.body_file, mjml=self.kind == "mjml")
        if self.kind == "html" and not _STYLE.search(self.body):
            # Nothing will parse this: Liquid between attributes is as good as anywhere.
            protected.problems[:] = [p for p in protected.problems if "between the attributes" not in p.sentence]
        self.problems += protected.problems
        self._stop()
        return protected

    def _markup(self, protected: Protected) -> str:
        if self.kind == "html":
            return self._inlined(protected.markup)
        try:
            output = mrml.to_html(protected.markup, render_options=mrml.RenderOptions(fonts={}))
        except OSError as error:
            self._mjml_error(str(error), protected)
        return str(output.content)

    def _mjml_error(self, said: str, protected: Protected) -> NoReturn:
        match = _POSITION.search(said)
        if match is None or match[1] is None:
            raise TemplateError([Problem(self.body_file, None, f"MJML: {_POSITION.sub('', said)}")])
        at = int(match[1])
        line, piece = protected.line(at), protected.piece_at(at)
        if piece:
            raise TemplateError([Problem(self.body_file, line, f"{piece} {DROPPED}")])
        raise TemplateError([Problem(self.body_file, line, f"MJML: {_POSITION.sub('', said)}")])

    def _inlined(self, markup: str) -> str:
        if not _STYLE.search(markup):
            return markup
        try:
            return _INLINER.inline(markup)
        except css_inline.InlineError as error:
            raise TemplateError([Problem(self.body_file, None, f"CSS: {error}")]) from error

    def _version(self) -> str:
        message = msgspec.json.encode(self.message, order="deterministic")
        parts = ("template", COMPILER, self.name, message, self.kind, self.body, self.text)
        enclosed = self.enclosures.digest()
        return make_id(*parts, *([enclosed] if enclosed else []))[:8]


def _finish(markup: str, protected: Protected, preheader: str) -> tuple[str, list[str]]:
    """The compiled HTML with preheader, tracked links and closing, and its links as their author wrote them."""
    links: dict[str, None] = {}

    def track(match: re.Match[str]) -> str:
        before, quote, address = match.groups()
        links[protected.restore(address)] = None
        return f"{before}{quote}{{% tracked %}}{address}{{% endtracked %}}{quote}"

    opening = f'<div style="{HIDDEN}">{preheader}</div>' if preheader else ""
    body = _BODY_OPEN.search(markup)
    start = body.end() if body else 0
    closes = list(_BODY_CLOSE.finditer(markup))
    stop = closes[-1].start() if closes and closes[-1].start() >= start else len(markup)
    html = markup[:start] + opening + _HREF.sub(track, markup[start:stop]) + "{% closing %}" + markup[stop:]
    return protected.restore(html), list(links)


def _urls_sentence(name: object) -> str:
    if name in LATER_URLS:
        return f"`urls.{name}` is not in this version"
    return f"`urls` has unsubscribe and preferences, not `{name}`"


def _bracket_hint(error: LiquidError) -> str:
    said = sentence(error)
    word = said.removeprefix("expected an identifier, found ")
    return f'; {word!r} is a word of Liquid, write ["{word}"]' if word != said and word.isidentifier() else ""
