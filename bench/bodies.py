"""Liquid alone: compiled, interpreted, and the engines beside it, on the letter's body and the shop's templates.

What is compared is the text that one person's data makes of a template that is loaded already; links are not signed.
Jinja2 and minijinja take the letter's source as it stands, the shop's they cannot read.
"""

from collections.abc import Callable, Mapping
from datetime import UTC
from pathlib import Path
from typing import Any

import jinja2
import liquid
import minijinja

from bench import letters
from bench.figures import Report, amount
from heliograph.project.check import plan_document
from heliograph.render.liquid import environment, interpret, render
from heliograph.render.liquid_program import compile_nodes

SHOP = Path(__file__).parent.parent / "examples" / "shop"
Timer = Callable[[Callable[[int], object], int], float]
"""CPU us of one call: the best of some rounds."""


def run(report: Report, count: int, cpu_us: Timer) -> None:
    contexts = [letters.context(n) for n in range(50)]
    _letter(report, count, cpu_us, contexts)
    _compiling(report, max(5, count // 100), cpu_us)
    _shop(report, max(5, count // 10), cpu_us)


def _letter(report: Report, count: int, cpu_us: Timer, contexts: list[dict[str, Any]]) -> None:
    source = letters.body()
    ours = environment(html=True).from_string(source)
    names = minijinja.Environment(templates={"letter.html": source})
    plain = liquid.Environment(autoescape=True).from_string(source)
    jinja = jinja2.Environment(autoescape=True).from_string(source)
    engines: dict[str, Callable[[Mapping[str, Any]], str]] = {
        "ours, interpreted": lambda data: interpret(ours, data, zone=UTC),
        "python-liquid": lambda data: plain.render(**data),
        "Jinja2": lambda data: jinja.render(**data),
        "minijinja": lambda data: names.render_template("letter.html", **data),
    }
    once = cpu_us(lambda n: render(ours, contexts[n % 50], zone=UTC), count)
    others = {name: cpu_us(lambda n, with_=with_: with_(contexts[n % 50]), count) for name, with_ in engines.items()}  # type: ignore[misc]
    assert len({with_(contexts[7]).strip() for with_ in engines.values()} | {render(ours, contexts[7]).strip()}) == 1
    report.add(
        "render", f"the HTML body: {len(source):,} bytes of Liquid, {letters.FIELDS} fields", 1e6 / once, "/s a core",
        target="25,000", beside=", ".join(f"{name} {amount(1e6 / us)}/s" for name, us in others.items()), cpu_us=once,
        note="strict about holes; the others not",
    )  # fmt: skip
    hole = {**contexts[0], "profile": {**contexts[0]["profile"], f"field{letters.FIELDS - 1}": None}}
    us = cpu_us(lambda n: _skipped(ours, hole), count)
    report.add("render", "the same with a hole in its last field: skipped, and why", us, "us")


def _skipped(template: liquid.BoundTemplate, data: Mapping[str, Any]) -> None:
    try:
        render(template, data)
    except Exception:
        return
    raise AssertionError("a hole was not seen")


def _compiling(report: Report, count: int, cpu_us: Timer) -> None:
    env, source = environment(html=True), letters.body()
    nodes = env.from_string(source).nodes
    parsing = cpu_us(lambda n: env.from_string(source), count)
    us = cpu_us(lambda n: compile_nodes(nodes, env), count)
    report.add(
        "render", "loading that body: its program, once a template", us / 1000, "ms",
        beside=f"python-liquid's parser {amount(parsing / 1000)} ms",
    )  # fmt: skip


def _shop(report: Report, count: int, cpu_us: Timer) -> None:
    """All of the shop's HTML in turn, for a person of whom everything is known."""
    document, findings = plan_document(SHOP)
    assert not findings
    env, data = environment(html=True), _customer()
    templates = [env.from_string(template["html"]) for _, template in sorted(document["templates"].items())]

    def each(how: Callable[..., str]) -> float:
        def once(_: int) -> None:
            for template in templates:
                how(template, data)

        return cpu_us(once, count) / len(templates)

    ours, theirs = each(render), each(interpret)
    size = sum(len(template["html"]) for template in document["templates"].values()) // len(templates)
    report.add(
        "render", f"the shop's {len(templates)} templates, {size:,} bytes of HTML on average", 1e6 / ours, "/s a core",
        beside=f"interpreted {amount(1e6 / theirs)}/s", cpu_us=ours,
    )  # fmt: skip


def _customer() -> dict[str, Any]:
    line = {
        "name": "Cup & saucer",
        "sku": "c1",
        "product_id": "p1",
        "price": 9.5,
        "quantity": 2,
        "url": "https://s.example/c1",
    }
    properties = {
        **line, "products": [line, {**line, "name": "Tin"}, {**line, "name": "Lamp"}], "order_id": "o1", "total": 57,
        "currency": "GBP", "shipment_id": "s1", "tracking_url": "https://post.example/1", "carrier": "Post",
    }  # fmt: skip
    return {
        "profile": {"firstName": "Ann", "id": "u1"},
        "event": {"name": "Order Completed", "properties": properties},
        "last": {name: [{"properties": properties}] for name in ("Product Viewed", "Product Added")},
        "urls": {"unsubscribe": "https://mail.example/u/1", "preferences": "https://mail.example/p/1"},
        "run": {"entered_at": "2026-09-21T14:13:20.000Z"},
        "now": "2026-09-21T14:13:20.000Z",
    }
