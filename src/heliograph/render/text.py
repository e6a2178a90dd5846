"""The text part, derived from the HTML part when an author did not write one.

Links are followed by their address, lists get dashes or numbers, each row of a table a line, images their ``alt``.
Works on markup whose Liquid is protected (:mod:`heliograph.render.protect`): tags and values of the template come
through, so loops and conditions hold in both parts.
"""

import re
from html.parser import HTMLParser

from heliograph.render.protect import VOID, Protected

_BLOCKS = frozenset((
    "address", "article", "aside", "blockquote", "body", "center", "dd", "div", "dl", "dt", "fieldset", "figure",
    "footer", "form", "header", "main", "nav", "ol", "section", "table", "tbody", "tfoot", "thead", "tr", "ul",
))  # fmt: skip
_PARAGRAPHS = frozenset(("p", "h1", "h2", "h3", "h4", "h5", "h6", "pre", "blockquote", "ul", "ol", "table"))
_SILENT = frozenset(("head", "style", "script", "title", "noscript", "svg"))
_HIDDEN = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\r\n\f\u200c\u00ad]+")
_GAPS = re.compile(r"\n{3,}")
_UNTIDY = re.compile(r"\n(?:\n\n|(?<=[ \t]\n))")
RULE = "-" * 20


def tidy(text: str) -> str:
    """Lines without trailing blanks, at most one empty line in a row, none at the ends."""
    if _UNTIDY.search(text):
        text = "\n".join([line.rstrip(" \t") for line in text.split("\n")])
        text = _GAPS.sub("\n\n", text)
    return text.strip("\n ") + "\n"


def derive(markup: str, protected: Protected) -> str:
    """Plain text of protected HTML, with its Liquid back in place."""
    reader = _Reader(protected)
    reader.feed(markup)
    reader.close()
    return tidy(protected.restore("".join(reader.out)))


class _Reader(HTMLParser):
    """Writes text as it comes; breaks and blanks are held back until something visible follows."""

    def __init__(self, protected: Protected) -> None:
        super().__init__(convert_charrefs=True)
        self.protected = protected
        self.pattern = protected.pattern()
        self.out: list[str] = []
        self.breaks = 0
        self.blank = False
        self.line_start = True
        self.silent: list[str] = []
        self.lists: list[int | None] = []
        self.links: list[tuple[str, int]] = []
        self.cells = 0

    # -- writing --

    def _break(self, count: int) -> None:
        self.breaks = max(self.breaks, count)
        self.blank = False

    def _show(self, text: str) -> None:
        if self.breaks:
            self.out.append("\n" * self.breaks)
            self.breaks, self.blank, self.line_start = 0, False, True
        if self.blank and not self.line_start:
            self.out.append(" ")
        self.blank = False
        self.out.append(text)
        self.line_start = False

    def _control(self, text: str) -> None:
        """A tag of the template: it is no text, so breaks stay behind it."""
        if self.blank and not self.line_start and not self.breaks:
            self.out.append(" ")
            self.blank = False
        self.out.append(text)

    # -- reading --

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if self.silent:
            if tag not in VOID:
                self.silent.append(tag)
            return
        if tag in _SILENT or (tag not in VOID and _HIDDEN.search(values.get("style") or "")):
            self.silent.append(tag)
            return
        if tag in _PARAGRAPHS or tag in _BLOCKS:
            self._break(2 if tag in _PARAGRAPHS and tag != "table" else 1)
        match tag:
            case "br":
                self.out.append("\n")
                self.breaks, self.blank, self.line_start = 0, False, True
            case "hr":
                self._break(1)
                self._show(RULE)
                self._break(1)
            case "img":
                if alt := _SPACE.sub(" ", values.get("alt") or "").strip():
                    self._show(alt)
            case "tr":
                self.cells = 0
            case "td" | "th":
                if self.cells and not self.breaks:
                    self.out.append("  ")
                    self.blank = False
                self.cells += 1
            case "ul":
                self.lists.append(None)
            case "ol":
                self.lists.append(0)
            case "li":
                self._break(1)
                self._show(self._bullet())
                self.line_start = True
            case "a":
                self.links.append((values.get("href") or "", len(self.out)))

    def _bullet(self) -> str:
        indent = "  " * (len(self.lists) - 1)
        if self.lists and (number := self.lists[-1]) is not None:
            self.lists[-1] = number + 1
            return f"{indent}{number + 1}. "
        return f"{indent}- "

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag in self.silent:
                while self.silent.pop() != tag:
                    pass
            return
        if tag in ("ul", "ol") and self.lists:
            self.lists.pop()
        if tag == "a" and self.links:
            self._end_link(*self.links.pop())
        if tag in _PARAGRAPHS or tag in _BLOCKS:
            self._break(2 if tag in _PARAGRAPHS else 1)

    def _end_link(self, address: str, start: int) -> None:
        shown = "".join(self.out[start:]).strip()
        if address.startswith("#") or not address or address.removeprefix("mailto:") == shown:
            return
        self.blank = bool(shown)
        self._show(f"({address})" if shown else address)

    def handle_data(self, data: str) -> None:
        if self.silent:
            return
        text = _SPACE.sub(" ", data)
        if text.startswith(" "):
            self.blank = True
        if core := text.strip(" "):
            self._show(core)
            self.blank = text.endswith(" ")

    def handle_comment(self, data: str) -> None:
        found = self.pattern.fullmatch(f"<!--{data}-->")
        if not found or (self.silent and "head" not in self.silent):
            return  # Liquid in something hidden stays behind as a whole, with its end
        source, _ = self.protected.pieces[int(found[1])]
        if source.startswith("{%"):
            self._control(data)
        elif not self.silent:
            self._show(data)
