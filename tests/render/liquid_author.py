"""An author without sense: random Liquid that parses, of every construct in every other, and random data for it."""

import random
from datetime import date
from decimal import Decimal
from typing import Any

from liquid import Markup

from tests.render.liquid_kit import HTML, VALUES

NAMES = ("a", "b", "c", "x", "profile", "event", "products", "list", "dict", "now", "nothing", "forloop", "partial")
KEYS = (
    "name",
    "a",
    "b",
    "size",
    "first",
    "last",
    "price",
    "tags",
    "nested",
    "index",
    "length",
    "parentloop",
    "rindex0",
    "x-y",
)
TEXTS = ("", " ", "\n  ", "x", "<b>", "&amp; '", "é😀", "{ % }", "\\", '"""', "{", "%s", "'); import os; ('")
ARGUMENTS = {
    "append": 1, "prepend": 1, "remove": 1, "remove_first": 1, "remove_last": 1, "replace": 2, "replace_first": 2,
    "replace_last": 2, "split": 1, "join": 1, "truncate": 2, "truncatewords": 2, "slice": 2, "plus": 1, "minus": 1,
    "times": 1, "divided_by": 1, "modulo": 1, "at_least": 1, "at_most": 1, "round": 1, "default": 1, "map": 1,
    "where": 2, "reject": 2, "find": 2, "find_index": 2, "has": 2, "sort": 1, "sort_natural": 1, "uniq": 1,
    "compact": 1, "sum": 1, "concat": 1, "date": 2, "money": 1, "json": 1,
}  # fmt: skip
"""How many arguments a filter likes; one more and fewer are tried too."""


class Author:
    """``budget``: nodes still to be written; without it templates grow for ever."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.budget = self.chance.choice((5, 10, 40))  # what is short is seldom skipped
        self.loops = 0

    # -- expressions --

    def text(self) -> str:
        return self.chance.choice(TEXTS)

    def literal(self) -> str:
        quote = self.chance.choice("'\"")
        options = (
            f"{quote}{self.text().replace(quote, '')}{quote}",
            f"{quote}name{quote}",
            str(self.chance.randint(-3, 9)),
            f"{self.chance.uniform(-5, 5):.3f}",
            self.chance.choice(("true", "false", "nil", "empty", "blank")),
        )
        return self.chance.choice(options)

    def path(self, depth: int = 2) -> str:
        path = self.chance.choice(NAMES)
        while self.chance.random() < 0.5:
            kind = self.chance.random()
            if kind < 0.6:
                key = self.chance.choice(KEYS)
                path += f".{key}" if key.isidentifier() else f'["{key}"]'
            elif kind < 0.75:
                path += f"[{self.chance.randint(-3, 3)}]"
            elif kind < 0.9:
                path += f'["{self.chance.choice(("name", "Product Viewed", "a b", "é", "first"))}"]'
            elif depth:
                path += f"[{self.path(depth - 1)}]"
        return f"[{path}]" if depth and self.chance.random() < 0.02 else path

    def primitive(self) -> str:
        kind = self.chance.random()
        if kind < 0.55:
            return self.path()
        return self.range() if kind > 0.93 else self.literal()

    def range(self) -> str:
        ends = [self.chance.choice((str(self.chance.randint(-2, 6)), self.path())) for _ in range(2)]
        return f"({ends[0]}..{ends[1]})"

    def filtered(self) -> str:
        source = self.primitive()
        while self.chance.random() < 0.4:
            source += f" | {self.filter()}"
        return source

    def filter(self) -> str:
        often = ("default", "default", "upcase", "size", "first")
        name = self.chance.choice((*HTML.filters, *often)) if self.chance.random() < 0.99 else "no_such_filter"
        count = max(0, ARGUMENTS.get(name, 0) + self.chance.choice((0,) * 18 + (-1, 1)))
        arguments = [self.primitive() for _ in range(count)]
        if name == "default" and self.chance.random() < 0.2:
            arguments.append(f"allow_false: {self.primitive()}")
        elif self.chance.random() < 0.03:
            arguments.append(f"{self.chance.choice(('value', 'context', 'environment', 'x'))}: {self.primitive()}")
        return f"{name}: {', '.join(arguments)}" if arguments else name

    def condition(self) -> str:
        operator = self.chance.choice(("==", "==", "!=", "<>", "<", ">", "<=", ">=", "contains", None, None, None))
        source = f"{self.primitive()} {operator} {self.primitive()}" if operator else self.primitive()
        return (
            f"{source} {self.chance.choice(('and', 'or'))} {self.condition()}" if self.chance.random() < 0.3 else source
        )

    # -- nodes --

    def tag(self, body: str) -> str:
        left, right = (self.chance.choice(("", "", "-")) for _ in range(2))
        return f"{{%{left} {body} {right}%}}"

    def block(self, most: int = 3) -> str:
        return "".join(self.node() for _ in range(self.chance.randint(0, most)))

    def node(self) -> str:
        self.budget -= 1
        if self.budget <= 0:
            return self.text()
        return self.chance.choice(self._nodes())(self)

    def _nodes(self) -> list[Any]:
        simple = [Author.content] * 3 + [Author.output] * 4 + [Author.small] * 2
        nested = [Author.if_, Author.for_, Author.for_, Author.case, Author.capture, Author.odd, Author.table]
        return simple + nested

    def content(self) -> str:
        return self.text().replace("{", "(")

    def output(self) -> str:
        left, right = (self.chance.choice(("", "", "-")) for _ in range(2))
        guard = " | default: 'd'" if self.chance.random() < 0.85 else ""  # or nearly every message would be skipped
        return f"{{{{{left} {self.filtered()}{guard} {right}}}}}"

    def small(self) -> str:
        name = self.chance.choice(("a", "b", "c", "x", "now", "profile", "partial", "forloop"))
        group = self.chance.choice(("", "", f"{self.primitive()}: "))
        cycle = f"cycle {group}{', '.join(self.primitive() for _ in range(self.chance.randint(1, 3)))}"
        jumps = ("break", "continue") if self.loops or self.chance.random() < 0.1 else ("echo a",)
        options = (
            f"assign {name} = {self.filtered()}", f"assign {name} = {self.filtered()}", f"increment {name}",
            f"decrement {name}", cycle, f"echo {self.filtered()}", "# a comment", self.chance.choice(jumps), "closing",
        )  # fmt: skip
        return self.tag(self.chance.choice(options))

    def if_(self) -> str:
        word = self.chance.choice(("if", "if", "unless"))
        source = self.tag(f"{word} {self.condition()}") + self.block()
        while self.chance.random() < 0.3:
            source += self.tag(f"elsif {self.condition()}") + self.block()
        if self.chance.random() < 0.4:
            source += self.tag("else") + self.block()
        return source + self.tag(f"end{word}")

    def loop(self) -> str:
        items = self.chance.choice((self.range, self.path, self.path))()
        source = f"{self.chance.choice(('a', 'b', 'p', 'x', 'forloop', 'now'))} in {items}"
        for name in ("limit", "offset"):
            if self.chance.random() < 0.2:
                source += f" {name}: {self.primitive() if self.chance.random() < 0.2 else self.chance.randint(-1, 4)}"
        if self.chance.random() < 0.1:
            source += " offset: continue"
        return source + (" reversed" if self.chance.random() < 0.2 else "")

    def for_(self) -> str:
        self.loops += 1
        source = self.tag(f"for {self.loop()}") + self.block()
        self.loops -= 1
        if self.chance.random() < 0.6:
            source += self.tag("else") + self.block()
        return source + self.tag("endfor")

    def table(self) -> str:
        columns = self.chance.choice(("", " cols: 2", f" cols: {self.primitive()}"))
        self.loops += 1
        source = self.tag(f"tablerow {self.loop()}{columns}") + self.block()
        self.loops -= 1
        return source + self.tag("endtablerow")

    def case(self) -> str:
        source = self.tag(f"case {self.primitive()}")
        for _ in range(self.chance.randint(1, 3)):
            values = self.chance.choice((", ", " or ")).join(self.primitive() for _ in range(self.chance.randint(1, 3)))
            source += self.tag(f"when {values}") + self.block(2)
        if self.chance.random() < 0.5:
            source += self.tag("else") + self.block(2)
        return source + self.tag("endcase")

    def capture(self) -> str:
        return self.tag(f"capture {self.chance.choice('abcx')}") + self.block() + self.tag("endcapture")

    def odd(self) -> str:
        lines = "\n".join((f"assign a = {self.filtered()}", f"if {self.condition()}", "echo a", "endif", "echo b"))
        options = (
            self.tag("ifchanged") + self.block(2) + self.tag("endifchanged"),
            self.tag("tracked") + self.block(2) + self.tag("endtracked"),
            self.tag("tracked") + "https://shop.example/?a=1&amp;b=2" + self.tag("endtracked"),
            self.tag("comment") + "{{ hidden }}" + self.tag("endcomment"),
            self.tag("raw") + "{{ shown }}" + self.tag("endraw"),
            f"{{% liquid\n{lines}\n%}}",
        )
        return self.chance.choice(options)

    def template(self) -> str:
        return "".join(self.node() for _ in range(self.chance.choice((1, 2, 4, 8))))

    # -- data --

    def value(self, depth: int = 3) -> Any:
        kind = self.chance.random() * (1 if depth else 0.5) + (0 if depth else 0.5)
        if depth and kind < 0.25:
            return {key: self.value(depth - 1) for key in self.chance.sample(KEYS, self.chance.randint(0, 5))}
        if depth and kind < 0.5:
            return [self.value(depth - 1) for _ in range(self.chance.randint(0, 4))]
        if kind < 0.6:
            return self.chance.choice((None, True, False, Decimal("1.50"), date(2026, 3, 1), Markup("<i>")))
        if kind < 0.75:
            return self.chance.choice((0, 1, -1, 3, 2.5, 10**12, 1e300))
        return self.chance.choice((self.text(), self.chance.choice(KEYS), "2026-03-01", "12"))

    def data(self) -> dict[str, Any]:
        given = {name: self.value() for name in NAMES if self.chance.random() < 0.85}
        return {**given, **(VALUES if self.chance.random() < 0.3 else {})}
