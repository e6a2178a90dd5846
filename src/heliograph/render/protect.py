"""Carrying Liquid unharmed through tools that know only HTML.

MJML and CSS inlining parse markup, move it and throw away what is out of place; text between table rows, for one, is
moved in front of the table.  So before they run each piece of Liquid becomes a placeholder that is at home where it
stands, and afterwards it comes back::

    between elements and in text      <!--hliq7z-->     a comment may stand anywhere, also between <tr>
    in a quoted attribute value       hliq7z            a word, fit for a URL, a colour, a class
    in title, style, a comment        hliq7z            there a comment would be text
    in style, around rules            /*hliq7z*/        a comment of CSS

What no placeholder can carry (Liquid between attributes, or in an unquoted value, where a value with a space would
become a new attribute) is refused with its line.  A piece that did not come through is refused too.
"""

import re
from typing import NamedTuple

from heliograph.render.errors import Problem, nearest

_COMMENTED = re.compile(r"{%-?\s*comment\s*-?%}.*?{%-?\s*endcomment\s*-?%}|{%-?\s*#.*?%}", re.DOTALL)
_LIQUID = re.compile(r"{{.*?}}|{%.*?%}", re.DOTALL)
_TOKEN = re.compile(
    r"(?P<liquid>{{.*?}}|{%.*?%})|(?P<comment><!--.*?-->)|(?P<cdata><!\[CDATA\[.*?\]\]>)|(?P<doctype><!\w[^>]*>|<\?[^>]*>)"
    r"|(?P<close></\s*(?P<closed>[A-Za-z][\w:-]*)\s*>)|<(?P<open>[A-Za-z][\w:-]*)",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(
    r"""\s+|(?P<end>/?>)|(?P<liquid>{{.*?}}|{%.*?%})"""
    r"""|[^\s"'=<>/`{]+\s*=\s*(?:"(?P<double>(?:{{.*?}}|{%.*?%}|[^"])*)"|'(?P<single>(?:{{.*?}}|{%.*?%}|[^'])*)'"""
    r"""|(?P<bare>(?:{{.*?}}|{%.*?%}|[^\s"'>])+))|[^\s"'=<>/`]+|.""",
    re.DOTALL,
)
_OPAQUE = {"title", "textarea", "style", "script", "mj-title", "mj-preview", "mj-style", "noscript"}
_STYLES = {"style", "mj-style"}
VOID = frozenset(
    ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr")
)
"""Elements without content or end tag (HTML, section 13.1.2)."""
MJML = frozenset((
    "mjml", "mj-accordion", "mj-accordion-element", "mj-accordion-text", "mj-accordion-title", "mj-all",
    "mj-attributes", "mj-body", "mj-breakpoint", "mj-button", "mj-carousel", "mj-carousel-image", "mj-class",
    "mj-column", "mj-divider", "mj-font", "mj-group", "mj-head", "mj-hero", "mj-html-attribute", "mj-html-attributes",
    "mj-image", "mj-include", "mj-navbar", "mj-navbar-link", "mj-preview", "mj-raw", "mj-section", "mj-selector",
    "mj-social", "mj-social-element", "mj-spacer", "mj-style", "mj-table", "mj-text", "mj-title", "mj-wrapper",
))  # fmt: skip


DROPPED = "cannot stand here: the MJML or CSS compiler drops it"


class Protected(NamedTuple):
    """``markup`` without Liquid; ``pieces[n]`` is (source, line) of placeholder n."""

    markup: str
    pieces: list[tuple[str, int]]
    prefix: str
    problems: list[Problem]

    def pattern(self) -> re.Pattern[str]:
        """Every form of a placeholder; group 1 is its number."""
        word = rf"{self.prefix}(\d+)z"
        return re.compile(rf"<!--{word}-->|/\*{word}\*/|{word}")

    def restore(self, markup: str) -> str:
        """The Liquid back in its places."""
        return self.pattern().sub(lambda match: self.pieces[_number(match)][0], markup)

    def line(self, at: int) -> int:
        """The author's line of an offset in the markup; Liquid over several lines is one placeholder there."""
        before = self.pattern().finditer(self.markup, 0, at)
        hidden = sum(self.pieces[_number(match)][0].count("\n") for match in before)
        return self.markup.count("\n", 0, at) + 1 + hidden

    def piece_at(self, at: int) -> str:
        """The Liquid whose placeholder begins at this offset, or nothing."""
        match = self.pattern().match(self.markup, at)
        return self.pieces[_number(match)][0] if match else ""

    def lost(self, markup: str, file: str) -> list[Problem]:
        """The pieces that a tool threw away."""
        present = {_number(match) for match in self.pattern().finditer(markup)}
        return [
            Problem(file, line, f"{source} {DROPPED}")
            for number, (source, line) in enumerate(self.pieces)
            if number not in present
        ]


def _number(match: re.Match[str]) -> int:
    return int(next(filter(None, match.groups())))


def protect(source: str, file: str, *, mjml: bool = False) -> Protected:
    """Replace the Liquid in HTML or MJML; in MJML also check that known elements are opened and closed in order."""
    source = _COMMENTED.sub(lambda match: "\n" * match[0].count("\n"), source)
    prefix = "hliq"
    while prefix in source:
        prefix += "q"
    return _Scanner(source, file, prefix, mjml).run()


class _Scanner:
    """One pass over the markup: text, then tag, then text."""

    def __init__(self, source: str, file: str, prefix: str, mjml: bool) -> None:
        self.source = source
        self.file = file
        self.prefix = prefix
        self.mjml = mjml
        self.out: list[str] = []
        self.pieces: list[tuple[str, int]] = []
        self.problems: list[Problem] = []
        self.stack: list[tuple[str, int]] = []

    def run(self) -> Protected:
        at = 0
        while match := _TOKEN.search(self.source, at):
            self.out.append(self.source[at : match.start()])
            at = self._token(match)
        self.out.append(self.source[at:])
        if self.mjml:
            for name, line in self.stack:
                self._problem(line, f"<{name}> is never closed")
        return Protected("".join(self.out), self.pieces, self.prefix, self.problems)

    def _line(self, at: int) -> int:
        return self.source.count("\n", 0, at) + 1

    def _problem(self, line: int, sentence: str) -> None:
        self.problems.append(Problem(self.file, line, sentence))

    def _place(self, liquid: str, at: int) -> str:
        self.pieces.append((liquid, self._line(at)))
        return f"{self.prefix}{len(self.pieces) - 1}z"

    def _words(self, text: str, at: int) -> str:
        """Every piece of Liquid in ``text`` (which begins at ``at``) as a word."""
        return _LIQUID.sub(lambda match: self._place(match[0], at + match.start()), text)

    def _token(self, match: re.Match[str]) -> int:
        if liquid := match["liquid"]:
            self.out.append(f"<!--{self._place(liquid, match.start())}-->")
        elif match["comment"] or match["cdata"] or match["doctype"]:
            self.out.append(self._words(match[0], match.start()))
        elif name := match["closed"]:
            self.out.append(match[0])
            self._close(name.lower(), match.start())
        else:
            return self._open(match)
        return match.end()

    def _open(self, match: re.Match[str]) -> int:
        name = match["open"].lower()
        self.out.append(match[0])
        if self.mjml and name.startswith("mj") and name not in MJML:
            self._problem(self._line(match.start()), f"<{name}> is no MJML element{nearest(name, MJML)}")
        at, closed = self._attributes(match.end(), name)
        if self.mjml and not closed and name not in VOID:
            self.stack.append((name, self._line(match.start())))
        return self._opaque(name, at) if name in _OPAQUE and not closed else at

    def _close(self, name: str, at: int) -> None:
        if not self.mjml:
            return
        if self.stack and self.stack[-1][0] == name:
            self.stack.pop()
        elif name in (open_name for open_name, _ in self.stack):
            while self.stack[-1][0] != name:
                left, line = self.stack.pop()
                self._problem(line, f"<{left}> is not closed before </{name}> on line {self._line(at)}")
            self.stack.pop()
        else:
            self._problem(self._line(at), f"</{name}> closes nothing")

    def _attributes(self, at: int, name: str) -> tuple[int, bool]:
        """Behind the tag's ``>``, and whether it closed itself."""
        while match := _ATTRIBUTE.match(self.source, at):
            at = match.end()
            if match["liquid"]:
                self._problem(
                    self._line(match.start()),
                    f"{match['liquid']} stands between the attributes of <{name}>: put it inside the quotes of a value",
                )
            elif match["bare"] and _LIQUID.search(match["bare"]):
                self._problem(self._line(match.start()), f"put quotes around {match['bare']} in <{name}>")
            else:
                self.out.append(self._words(match[0], match.start()))
            if match["end"]:
                return at, match["end"] == "/>"
        return at, False

    def _opaque(self, name: str, at: int) -> int:
        """The content of an element that holds no elements, up to its end tag."""
        end = re.compile(rf"</\s*{name}\s*>", re.IGNORECASE).search(self.source, at)
        stop = end.start() if end else len(self.source)
        content = self.source[at:stop]
        self.out.append(self._styles(content, at) if name in _STYLES else self._words(content, at))
        return stop

    def _styles(self, content: str, at: int) -> str:
        """In CSS a tag becomes a comment, a value a word."""

        def place(match: re.Match[str]) -> str:
            word = self._place(match[0], at + match.start())
            return f"/*{word}*/" if match[0].startswith("{%") else word

        return _LIQUID.sub(place, content)
