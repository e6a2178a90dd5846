"""Given: both ways to render Liquid, what comes of each, and data of every kind that a person may bring."""

from collections.abc import Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pytest
from liquid import Markup
from liquid.exceptions import LiquidError

from heliograph.decide.times import zone
from heliograph.render import Skip
from heliograph.render.context import Context
from heliograph.render.liquid import MailTemplate, environment, interpret, render
from heliograph.render.liquid_runtime import Written

HTML, TEXT = environment(html=True), environment(html=False)
ENVIRONMENTS = {"html": HTML, "text": TEXT}
BERLIN = zone("Europe/Berlin")
VALUES: dict[str, Any] = {
    "text": "Plain text",
    "hostile": "<b>Jo</b> & 'co' \"x\"",
    "unicode": "Žluťoučký кот 😀\u2028\u00a0e\u0301",
    "lines": "a\nb\r\nc  d\te",
    "empty": "",
    "space": " \t ",
    "digits": "42",
    "decimal_text": "-1.50",
    "iso": "2026-03-01T12:30:00+01:00",
    "b64": "PHNjcmlwdD4=",
    "markup": Markup("<i>m</i>"),
    "zero": 0,
    "one": 1,
    "negative": -7,
    "large": 10**20,
    "float": 2.5,
    "tiny": 1e-9,
    "infinite": float("inf"),
    "decimal": Decimal("12.30"),
    "true": True,
    "false": False,
    "none": None,
    "date": date(2026, 3, 1),
    "instant": datetime(2026, 3, 1, 12, 30),
    "list": ["b", "a", "C", "a"],
    "numbers": [3, 1.5, "2", 3],
    "mixed": [1, "x", None, {"name": "n"}, [2, [3]], True],
    "empties": [],
    "dict": {"name": "Ann", "size": "XL", "first": "f", "nested": {"name": "deep"}},
    "empty_dict": {},
    "products": [
        {"name": "Cup", "price": 9.5, "tags": ["a", "b"], "stock": None},
        {"name": "<Tin>", "price": "3", "tags": [], "sale": True},
        {"name": "Box", "tags": "x,y"},
    ],
    "range": range(2, 5),
    "tuple": ("x", 2),
}  # fmt: skip
"""A value of each kind that JSON has, and some that only a program could bring."""


class Mail:
    """A message around the template whose links can be told from others."""

    def tracked(self, url: str) -> str:
        return f"https://t.example/c?to={url}&n={len(url)}"

    def closing(self) -> str:
        return "<footer>&copy;</footer>"


def names() -> dict[str, Any]:
    """What a context holds: the values, also under the names that mail has."""
    return {
        **VALUES,
        "profile": {
            **VALUES,
            "locale": "de-DE",
            "firstName": "Jo",
            "address": {"city": "Bristol", "lines": ["1", "2"]},
        },
        "event": {"properties": {"products": VALUES["products"], "total": 12.5, "currency": "GBP"}},
        "last": {"Product Viewed": [{"properties": {"name": "Lamp"}}]},
        "key": "name",
        "index": 1,
        "now": "2026-09-21T14:13:20.000Z",
    }


Outcome = tuple[str, ...]


def outcome(how: Any, template: MailTemplate, data: Mapping[str, Any]) -> Outcome:
    """The text, or all that is known of why there is none."""
    try:
        return ("text", how(template, data, mail=Mail(), zone=BERLIN))
    except Skip as skip:
        cause = skip.__cause__
        said = cause.message if isinstance(cause, LiquidError) else cause
        return ("skip", skip.reason, type(cause).__name__, str(said))


def fails(template: MailTemplate, data: Mapping[str, Any]) -> bool:
    """Whether the program alone gives up, and leaves it to the interpreter to say why."""
    context = Context(template, globals=data)
    context.mail, context.zone = Mail(), BERLIN
    context.scope.push({"partial": False})
    try:
        template.program(context, written := Written())  # type: ignore[misc]
        written.text()
    except Exception:
        return True
    return False


def both(source: str, html: bool, data: Mapping[str, Any] | None = None) -> tuple[Outcome, Outcome]:
    """(compiled, interpreted); the template has a program, or the comparison would be one of a thing with itself."""
    template = (HTML if html else TEXT).from_string(source)
    assert isinstance(template, MailTemplate)
    assert template.program is not None
    given = names() if data is None else data
    compiled, interpreted = outcome(render, template, given), outcome(interpret, template, given)
    assert fails(template, given) == (interpreted[0] == "skip"), "a program that gives up without need costs time"
    return compiled, interpreted


def assert_same(source: str, data: Mapping[str, Any] | None = None) -> list[Outcome]:
    """In both environments; a source that does not parse is no case."""
    found = []
    for html in (True, False):
        compiled, interpreted = both(source, html, data)
        assert compiled == interpreted, f"{'html' if html else 'text'}: {source!r}"
        found.append(compiled)
    return found


def parses(source: str) -> bool:
    try:
        HTML.from_string(source)
    except LiquidError:
        return False
    return True


def kinds(outcomes: list[Outcome]) -> Iterator[str]:
    return (found[0] for found in outcomes)


each_environment = pytest.mark.parametrize("html", [True, False], ids=["html", "text"])
