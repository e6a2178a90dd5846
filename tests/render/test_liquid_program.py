"""Compiled Liquid writes what python-liquid writes, and refuses what it refuses, with the same reason."""

import ast
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TextIO

import pytest
from liquid.ast import Node
from liquid.builtin.expressions import Identifier
from liquid.context import RenderContext
from liquid.exceptions import BreakLoop, LiquidError
from liquid.stream import TokenStream
from liquid.tag import Tag
from liquid.token import TOKEN_TAG

from heliograph.project.check import plan_document
from heliograph.render import load
from heliograph.render.compile import environment as publish_environment
from heliograph.render.liquid import MailTemplate, environment, interpret, render
from heliograph.render.liquid_program import source_of
from heliograph.render.liquid_runtime import RUNTIME
from tests.render.kit import compiled
from tests.render.liquid_author import Author
from tests.render.liquid_cases import FILTERS, TAGS
from tests.render.liquid_kit import HTML, TEXT, VALUES, assert_same, both, fails, kinds, names, outcome, parses

GOLDEN = Path(__file__).parent / "data" / "golden_liquid.json"
SHOP = Path(__file__).parent.parent.parent / "examples" / "shop"


def test_every_filter_and_every_tag_has_its_cases() -> None:
    """So one that is added to an environment is compared as well."""
    assert set(FILTERS) == set(HTML.filters) == set(TEXT.filters)
    assert set(TAGS) == set(HTML.tags) == set(TEXT.tags)


@pytest.mark.parametrize("name", sorted(FILTERS))
def test_every_filter_with_every_kind_of_value(name: str) -> None:
    calls = [
        name,
        *(f"{name}: {arguments}" for arguments in (*FILTERS[name], "1, 2, 3, 4", "'a', nosuch: 1", "value: 1")),
    ]
    for html, env in ((True, HTML), (False, TEXT)):
        for call in calls:
            template = env.from_string(f"{{{{ it | {call} }}}}|{{{{ 'literal' | {call} | default: 'd' }}}}")
            assert isinstance(template, MailTemplate)
            assert template.program is not None
            for kind, value in (*VALUES.items(), ("absent", None)):
                data = {**names(), "it": value}
                interpreted = outcome(interpret, template, data)
                assert outcome(render, template, data) == interpreted, (html, call, kind)
                assert fails(template, data) == (interpreted[0] == "skip"), (html, call, kind)


@pytest.mark.parametrize("name", sorted(TAGS))
def test_every_tag(name: str) -> None:
    for source in TAGS[name]:
        if parses(source):
            assert_same(source)
        else:
            assert name in ("illegal", "include", "render")


def test_the_cases_of_tags_are_rendered_and_skipped() -> None:
    """They would prove little if all of them failed alike."""
    found = [
        kind for cases in TAGS.values() for source in cases if parses(source) for kind in kinds(assert_same(source))
    ]
    assert found.count("text") > 150
    assert found.count("skip") > 50


@pytest.mark.parametrize("batch", range(20))
def test_random_templates_on_random_data(batch: int) -> None:
    for seed in range(batch * 50, batch * 50 + 50):
        author = Author(seed)
        source, data = author.template(), author.data()
        if not parses(source):
            continue
        for html in (True, False):
            ours, theirs = both(source, html, data)
            assert ours == theirs, f"seed {seed}, html {html}: {source!r} on {data!r}"


def test_golden_liquid() -> None:
    """python-liquid's own cases of each construct, from before its second version."""
    cases = [case for cases in json.loads(GOLDEN.read_text())["cases"].values() for case in cases]
    rendered = 0
    for case in cases:
        if parses(case["template"]):
            found = assert_same(case["template"], case.get("globals", {}))
            rendered += "text" in kinds(found)
    assert rendered > 600


@pytest.fixture(scope="module")
def shop() -> list[tuple[str, dict[str, Any]]]:
    document, findings = plan_document(SHOP)
    assert not findings
    return sorted(document["templates"].items())


def test_the_shops_templates(shop: list[tuple[str, dict[str, Any]]]) -> None:
    """For people of whom all, little or nothing is known."""
    line = {
        "name": "Cup <1>",
        "sku": "c",
        "product_id": "p1",
        "price": 9.5,
        "quantity": 2,
        "url": "https://s.example/c?a=1&b=2",
    }
    properties = {
        **line,
        "products": [line, {"sku": "t", "price": 3}, {"name": "Tin"}],
        "order_id": "o1",
        "total": 25.25,
        "currency": "GBP",
        "shipment_id": "s1",
        "tracking_url": "https://post.example/1",
        "carrier": "Post",
    }
    known = {
        "profile": {"firstName": "Ann & Co", "id": "u1"},
        "event": {"name": "E", "properties": properties},
        "last": {name: [{"properties": properties}] for name in ("Product Viewed", "Product Added", "Order Completed")},
        "urls": {"unsubscribe": "https://m.example/u/1", "preferences": "https://m.example/p/1"},
        "run": {"entered_at": "2026-09-21T14:13:20.000Z"},
        "now": "2026-09-21T14:13:20.000Z",
    }
    sparse = {**known, "profile": {}, "event": {"properties": {"products": [{}], "order_id": 5}}}
    texts = 0
    for _, template in shop:
        for part in ("subject", "html", "text"):
            for data in (known, sparse, {}):
                texts += list(kinds(assert_same(template[part], data))).count("text")
    assert texts > len(shop) * 3


# -- safety --

HOSTILE = (
    "'); import os; ('",
    '"); raise SystemExit ("',
    "__import__('os')",
    "__class__",
    "\\",
    "\\'",
    "\n import os\n",
    "{0}",
    "%s",
    "\0",
    "\N{LINE SEPARATOR}",
    "\x0c",
    "'''",
    '"""',
    "#",
    "; x",
    "k0",
    "g0",
    "context",
    "o",
    "v",
    "type",
    "lambda: 0",
    "\udc80",
)
WORDS = (
    "import",
    "class",
    "None",
    "__builtins__",
    "__class__",
    "k0",
    "g0",
    "o",
    "v",
    "t",
    "context",
    "type",
    "own",
    "outside",
    "written",
    "escaped",
    "def",
    "return",
    "exec",
    "l",
    "i1",
    "f1",
    "str",
    "a-b",
    "é",
)
_LOCAL = re.compile(r"[eghfikmnrdbhx]\d+|program|context|o|v|t|l|_|outside|own|counters|item")
_ATTRIBUTES = {
    "globals",
    "locals",
    "counters",
    "item",
    "get",
    "assign",
    "increment",
    "decrement",
    "ifchanged",
    "count",
    "loops",
    "pop",
    "check",
    "text",
    "render",
    "it",
    "_index",
    "upper",
    "lower",
    "capitalize",
    "strip",
    "lstrip",
    "rstrip",
    "length",
    "index",
    "index0",
    "rindex",
    "rindex0",
    "first",
    "last",
    "parentloop",
    "name",
    "col",
    "col0",
    "col_first",
    "col_last",
    "row",
}


def assert_harmless(source: str, html: bool) -> None:
    """Generated code says only names and attributes that the compiler made up or chose."""
    env = HTML if html else TEXT
    template = env.from_string(source)
    generated = source_of(template.nodes, env)
    assert generated.isascii()
    for node in ast.walk(ast.parse(generated)):
        assert not isinstance(
            node, ast.Import | ast.ImportFrom | ast.ClassDef | ast.Lambda | ast.Global | ast.AsyncFunctionDef
        )
        if isinstance(node, ast.Name):
            assert _LOCAL.fullmatch(node.id) or node.id in RUNTIME or node.id == "written", (source, node.id)
        elif isinstance(node, ast.Attribute):
            assert node.attr in _ATTRIBUTES, (source, node.attr)
        elif isinstance(node, ast.keyword):
            assert node.arg in (None, "token"), (source, node.arg)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_an_author_writes_is_text_to_the_program(text: str) -> None:
    quoted = f'"{text}"' if '"' not in text else f"'{text}'"
    sources = [
        text,
        f"{{{{ {quoted} }}}}",
        f"{{{{ profile[{quoted}] }}}}",
        f"{{{{ text | append: {quoted} }}}}",
        f"{{% cycle {quoted}: 1 %}}",
        f"{{% if text == {quoted} %}}{{% endif %}}",
        f"{{% case {quoted} %}}{{% when {quoted} %}}x{{% endcase %}}",
        f"{{% tracked %}}https://x.example/{text}{{% endtracked %}}",
        f"{{% comment %}}{text}{{% endcomment %}}",
    ]
    for source in filter(parses, sources):
        assert_harmless(source, True)
        assert_same(source)


@pytest.mark.parametrize("word", WORDS)
def test_what_an_author_names_is_no_name_to_the_program(word: str) -> None:
    sources = [
        f"{{{{ {word} }}}}{{{{ {word}.{word} }}}}",
        f"{{% assign {word} = 'x' %}}{{{{ {word} }}}}{{{{ text }}}}",
        f"{{% for {word} in list %}}{{{{ {word} }}}}{{{{ forloop.{word} | default: '-' }}}}{{% endfor %}}",
        f"{{% increment {word} %}}{{% capture {word} %}}y{{% endcapture %}}{{{{ {word} }}}}",
        f"{{{{ text | {word} }}}}",
        f"{{{{ text | default: 'x', {word}: 1 }}}}",
        f"{{% tablerow {word} in list %}}{{{{ tablerowloop.{word} }}}}{{% endtablerow %}}",
    ]
    for source in filter(parses, sources):
        assert_harmless(source, False)
        assert_same(source, {**names(), word: "given"})


def test_the_program_reaches_nothing_but_what_it_was_given() -> None:
    for seed in range(300):
        source = Author(seed).template()
        if parses(source):
            assert_harmless(source, True)
    program = both.__globals__["HTML"].from_string("{{ profile.text }}").program
    assert program.__globals__["__builtins__"] == {}


# -- bounds --

MANY = "{% for i in (1..200) %}{% for j in (1..100) %}"
END = "{% endfor %}{% endfor %}"


@pytest.mark.parametrize(
    "source",
    [
        "{{ big }}{{ big }}{{ big }}",
        "{{ big }}{{ big }}{{ big }}{{ nothing }}",
        "{{ big }}{{ big }}{{ 'a' | divided_by: list }}{{ big }}{{ 1 | divided_by: 0 }}",
        "{{ big }}{{ big }}{{ one }}{{ half }}{{ nothing }}",
        f"{MANY}{{{{ big }}}}{END}",
        f"{MANY}{{{{ big }}}}{{% continue %}}{END}",
        f"{MANY}{{% capture x %}}{{{{ big }}}}{{{{ big }}}}{{{{ big }}}}{{% endcapture %}}{END}",
        "{% capture x %}{{ big }}{{ big }}{{ big }}{{ nothing }}{% endcapture %}",
        "{% capture x %}{{ big }}"
        "{% capture y %}{{ big }}{{ big }}{{ big }}{{ nothing }}{% endcapture %}{% endcapture %}",
        "{% capture x %}{{ big }}{{ big }}{% endcapture %}{{ x }}{{ x }}",
        "{% tracked %}{{ big }}{{ big }}{{ big }}{% endtracked %}",
        "{% tracked %}" + "x" * 1_000_001 + "{% endtracked %}",
        "{% ifchanged %}{{ big }}{{ big }}{{ big }}{% endifchanged %}",
        "{{ one }}{{ text }}" * 100 + "{{ nothing }}",
        "{{ half }}" * 100 + "{{ nothing }}",
        "<{{ hostile }}>" * 100,
        "{{ exact }}",
        "{{ exact }}x",
        "{{ exact }}{% increment n %}",
        "{{ exact }}{% cycle big %}",
        "{% capture x %}{{ exact }}{% endcapture %}",
        "{% tablerow i in (1..20) %}{{ big }}{% endtablerow %}",
        "{% for i in (1..20001) %}{% endfor %}",
        "{% for i in (1..20000) %}{% endfor %}|",
        "{% for i in (1..200) %}{% tablerow j in (1..101) %}{% endtablerow %}{% endfor %}",
        "{% assign x = big %}{% assign y = big %}{% assign z = big %}",
        "{% for i in (1..19990) %}{% endfor %}" * 10 + "|",
        "{% for i in (1..19990) %}{% endfor %}" * 10 + "{% for i in (1..1) %}{% endfor %}",
        "{% for i in (1..19) %}{% tablerow j in (1..1000) cols: 1 %}{% endtablerow %}{% endfor %}" * 6,
        "{% for i in (1..9999) %}{% for j in (1..2) %}{% endfor %}"
        + "{% for j in (1..1) %}{% endfor %}" * 99
        + "{% endfor %}",
        "{% case 1 %}{% when 1, 1, 1, 1 %}" * 7 + "x" + "{% endcase %}" * 7,
        "{% case 1 %}{% when 1, 1, 1, 1 %}" * 8 + "x" + "{% endcase %}" * 8,
        "{% for i in (1..5000) %}{% case 1 %}{% when 1, 1, 1, 1 %}{{ i }}{% endcase %}{% endfor %}",
        "{% for i in (1..5001) %}{% case 1 %}{% when 1, 1, 1, 1 %}{% break %}{% endcase %}{% endfor %}",
        "{% for i in (1..9) %}{% case 1 %}{% when 1, 1 %}{% continue %}{% endcase %}{% endfor %}"
        "{% for i in (1..20000) %}{% endfor %}|",
        "{% assign a = 'xxxxxxxxxxxxxxxx' %}{% for i in (1..60) %}{% assign a = a | append: a %}{% endfor %}",
    ],
)
def test_what_grows_too_much_is_refused_at_the_same_point(source: str) -> None:
    """The limit counts before a hole that stands behind it, and not before one in front."""
    assert_same(source, {**names(), "big": "x" * 400_000, "half": "x" * 200_000, "exact": "x" * 1_000_000, "one": 1})


def test_the_deepest_loops_and_conditions_take_turns_with_the_interpreter() -> None:
    for depth in (5, 8, 9, 12, 20, 26, 27, 28, 29):
        loops = "".join(f"{{% for a{n} in one_item %}}{{{{ a{n} }}}}{{{{ 'now' | date: '%Y' }}}}" for n in range(depth))
        assert_same(loops + "{% break %}x" + "{% endfor %}" * depth, {**names(), "one_item": ["<i>"]})
        tables = "".join(f"{{% tablerow a{n} in one_item %}}{{{{ a0 }}}}" for n in range(depth))
        assert_same(tables + "{% break %}x" + "{% endtablerow %}" * depth, {**names(), "one_item": [1]})
        assert_same("{% if text %}a{% else %}" * depth + "x" + "{% endif %}" * depth)
        half = depth // 2
        cases = "{% case 1 %}{% when 1 %}a{% for p in one_item %}" * half + "{% endfor %}{% endcase %}" * half
        assert_same(cases, {**names(), "one_item": [1]})


def test_expressions_of_any_length() -> None:
    for length in (10, 29, 30, 31, 60):
        assert_same("{{ text" + " | append: 'x' | upcase" * length + " }}")
        assert_same(
            "{% for p in list %}{% if p == 'a'" + " and true" * length + " %}{% break %}{% endif %}{{ p }}{% endfor %}"
        )
        assert_same("{{ profile" + ".nested" * length + " | default: 'd' }}")
        assert_same("{% if text %}" + "{% elsif text %}x" * length + "{% endif %}")
        assert_same("{% case 'a' %}{% when 'a'" + ", 'b', 'a'" * length + " %}x{% else %}y{% endcase %}")


@pytest.mark.parametrize(
    "source",
    [
        "{{ text }}" * 20_000,
        "{% if nothing %}" + "{% elsif nothing %}x" * 6_000 + "{% else %}y{% endif %}",
        "{% if nothing %}" + "{% elsif nothing %}x" * 3_000 + "{% else %}y{% endif %}",
    ],
)
def test_a_template_that_is_too_large_stays_with_the_interpreter(source: str) -> None:
    template = HTML.from_string(source)
    assert isinstance(template, MailTemplate)
    assert template.program is None
    assert render(template, names()) == interpret(template, names())


@pytest.mark.parametrize(
    "source",
    [
        "{% case 1 %}{% when 1" + ", 2" * 10_000 + " %}x{% endcase %}",
        "{% cycle 1" + ", 2" * 10_000 + " %}",
        "{{ profile" + ".nested" * 20_000 + " | default: 'd' }}",
        "{{ text | replace: 'x'" + ", 'y'" * 20_000 + " }}",
        "x" * 400_000 + "{{ text }}",
    ],
)
def test_one_node_of_any_size_is_compiled(source: str) -> None:
    assert_same(source)


def test_a_construct_that_only_the_interpreter_knows_is_left_to_it() -> None:
    """Here: what python-liquid can be told to accept and we do not."""
    env = environment(html=True)
    for option in ("ternary_expressions", "logical_not_operator", "logical_parentheses"):
        setattr(env, option, True)
    assigned = "{% assign a = 'x' if one else 'y' || upcase %}{{ a }}{{ a | downcase }}"
    for source in (
        "{{ 'a' if nothing else text | upcase }}",
        "{{ nothing if one }}",
        "{% if not nothing %}{{ text }}{% endif %}",
        assigned,
        "{% for p in list %}{% if not (p == 'a' or nothing) %}{{ p }}{% break %}{% endif %}-{% endfor %}",
        "{% for p in list %}{% tablerow q in list %}"
        "{% if not q == 'b' %}{% continue %}{% endif %}{{ q }}{% endtablerow %}{% endfor %}",
        "{% if not one %}{% else %} {% endif %}{% if nothing %}{% unless not one %} {% endunless %}{% endif %}|",
        "{% capture c %}{{ 'b' if one else 'c' }}{% endcapture %}{{ c }}",
        "{% if not one %}{% break %}{% else %}{% continue %}{% endif %}",
    ):
        template = env.from_string(source)
        assert isinstance(template, MailTemplate)
        assert template.program is not None
        assert ".render(context" in source_of(template.nodes, env) or "program(" in source_of(template.nodes, env)
        assert outcome(render, template, names()) == outcome(interpret, template, names()), source


class ShoutNode(Node):
    """Of a tag that the compiler does not know."""

    def render_to_output(self, context: RenderContext, buffer: TextIO) -> int:
        context.assign("shouted", "yes")
        if context.resolve("p") == "a":
            raise BreakLoop("break")
        return buffer.write(str(context.resolve("p")).upper())

    def template_scope(self) -> Iterable[Identifier]:
        yield Identifier("shouted", token=self.token)


class ShoutTag(Tag):
    name = "shout"
    block = False

    def parse(self, stream: TokenStream) -> Node:
        return ShoutNode(stream.expect(TOKEN_TAG))


def test_a_tag_that_the_compiler_does_not_know_shares_names_loops_and_output_with_the_program() -> None:
    env = environment(html=True)
    env.add_tag(ShoutTag)
    for source in (
        "{% for p in list %}{% shout %}-{{ shouted }}{% endfor %}{{ shouted }}",
        "{% for p in list %}{% capture c %}{% shout %}{% endcapture %}{{ c }}{% endfor %}",
        "{% for p in list %}{% if shouted %} {% endif %}{% shout %}{% endfor %}{% shout %}",
        "{% for p in list %}{% tablerow p in numbers %}{% shout %}{% endtablerow %}{% shout %}{% endfor %}",
    ):
        template = env.from_string(source)
        assert isinstance(template, MailTemplate)
        assert ".render(context" in source_of(template.nodes, env)
        found = outcome(interpret, template, names())
        assert outcome(render, template, names()) == found, source
        assert fails(template, names()) == (found[0] == "skip")


def test_what_mail_does_most_is_done_in_place() -> None:
    """Slower ways would give the same text, so nobody else would notice."""

    def said(source: str) -> str:
        return source_of(HTML.from_string(source).nodes, HTML)

    assert "escaped(v) if type(v := (g0['text'] if type(g0) is dict" in said("{{ profile.text }}")
    assert "is str and v else k0(v, 'd')" in said("{{ text | default: 'd' }}")
    assert "v.upper() if type(v := " in said("{{ text | upcase }}")
    assert "v * (100) if type(v := " in said("{{ one | times: 100 }}")
    assert "f1.index" in said("{% for p in list %}{{ forloop.index }}{% endfor %}")
    assert "o += ('<p>a</p>', )" in said("<p>{{ 'a' }}</p>{% # nothing %}")


def test_a_loaded_template_keeps_its_programs() -> None:
    template = load(compiled())
    assert isinstance(template.html, MailTemplate)
    assert template.html.program is not None
    again = load(compiled()).html
    assert isinstance(again, MailTemplate)
    assert again.program is template.html.program


def test_a_template_is_compiled_once_when_it_is_first_rendered() -> None:
    template = HTML.from_string("{{ text }}")
    assert isinstance(template, MailTemplate)
    assert "program" not in vars(template)
    render(template, names())
    first = template.program
    render(template, names())
    assert template.program is first


def test_the_environments_of_publishing_are_these() -> None:
    assert publish_environment is environment


def test_a_message_that_fails_leaves_nothing_behind_for_the_next() -> None:
    template = HTML.from_string("{% assign a = 'x' %}{% increment n %}{% cycle 'a', 'b' %}{{ maybe }}{{ a }}")
    shown = [outcome(render, template, {"maybe": value}) for value in ("1", None, "2")]  # type: ignore[arg-type]
    assert shown[0] == ("text", "0a1x")
    assert shown[1][:2] == ("skip", "missing: maybe")
    assert shown[2] == ("text", "0a2x")


def test_a_template_that_does_not_parse_is_refused_as_ever() -> None:
    with pytest.raises(LiquidError):
        HTML.from_string("{% if %}")
