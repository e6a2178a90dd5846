"""Liquid as mail needs it: holes skip, HTML escapes, time is given, everything ends."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.times import zone
from heliograph.render import Skip
from heliograph.render.liquid import environment, render

HTML, TEXT = environment(html=True), environment(html=False)
NAMES = {
    "profile": {"firstName": "<b>Jo</b> & 'co'", "bare": "", "void": None, "n": 5, "tags": [], "on": False, "zero": 0},
    "event": {"properties": {"products": [{"name": "Cup", "price": 9.5}, {"name": "Tin"}]}},
    "last": {"Product Viewed": [{"properties": {"name": "Lamp"}}]},
    "now": "2026-09-21T14:13:20.000Z",
    "big": "x" * 300_000,
}


def text(source: str, env=TEXT, **kwargs) -> str:
    return render(env.from_string(source), NAMES, **kwargs)


def html(source: str) -> str:
    return text(source, HTML)


def reason(source: str) -> str:
    with pytest.raises(Skip) as skip:
        text(source)
    return skip.value.reason


@pytest.mark.parametrize(
    ("source", "path"),
    [
        ("{{ profile.nothing }}", "profile.nothing"),
        ("{{ profile.void }}", "profile.void"),
        ("{{ profile.address.city }}", "profile.address.city"),
        ("{{ nobody }}", "nobody"),
        ('{{ last["Order Completed"].first.name }}', 'last["Order Completed"].first.name'),
        ("{{ profile.nothing | upcase }}", "profile.nothing"),
        ("{{ profile.nothing | date: '%Y' }}", "profile.nothing"),
        ("{{ profile.nothing | size }}", "profile.nothing"),
        ("{{ 'a' | append: profile.nothing }}", "profile.nothing"),
        ("{{ profile.nothing | default: profile.neither }}", "profile.neither"),
        ("{% assign x = profile.nothing %}{{ x }}", "profile.nothing"),
        ("{% assign x = profile.nothing | upcase %}{{ x }}", "profile.nothing"),
        ("{% capture x %}{{ profile.nothing }}{% endcapture %}", "profile.nothing"),
        ("{% echo profile.nothing %}", "profile.nothing"),
        ("{% cycle profile.nothing, 'b' %}", "profile.nothing"),
        ("{% for p in profile.nothing %}{{ p }}{% endfor %}", "profile.nothing"),
        ("{% tablerow p in profile.nothing %}{{ p }}{% endtablerow %}", "profile.nothing"),
        ("{% for p in event.properties.products limit: profile.nothing %}{{ p.name }}{% endfor %}", "profile.nothing"),
        ("{% for p in event.properties.products %}{{ p.price }}{% endfor %}", "p.price"),
        ("{{ event.properties.products | map: 'price' | join: ', ' }}", "*.price"),
    ],
)
def test_a_hole_skips_the_message_and_names_its_path(source: str, path: str) -> None:
    assert reason(source) == f"missing: {path}"


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ profile.nothing | default: 'friend' }}", "friend"),
        ("{{ profile.void | upcase | default: 'friend' }}", "friend"),
        ("{{ profile.bare | default: 'friend' }}", "friend"),
        ("{{ profile.tags | default: 'none' }}", "none"),
        ("{{ profile.on | default: 'off' }}", "off"),
        ("{{ profile.on | default: 'off', allow_false: true }}", "false"),
        ("{{ profile.zero | default: 7 }}", "0"),
        ("[{{ profile.bare }}]", "[]"),
        ("{% if profile.nothing %}{{ profile.nothing }}{% else %}no{% endif %}", "no"),
        ("{% if profile.nothing.deeper == nil %}nil{% endif %}", "nil"),
        ("{% if profile.nothing == blank %}blank{% endif %}", "blank"),
        ("{% if profile.nothing != blank %}{{ profile.nothing }}{% else %}no{% endif %}", "no"),
        ("{% if blank == profile.void %}blank{% endif %}", "blank"),
        ("{% if profile.bare == blank %}blank{% endif %}", "blank"),
        ("{% if profile.nothing > 3 or 3 > profile.nothing %}!{% else %}no{% endif %}", "no"),
        ("{% if profile.nothing contains 'x' %}!{% else %}no{% endif %}", "no"),
        ("{% unless profile.nothing %}no{% endunless %}", "no"),
        ("{% case profile.nothing %}{% when 'a' %}a{% else %}other{% endcase %}", "other"),
        ("{% assign n = profile.nothing | size %}{% if n > 0 %}!{% else %}no{% endif %}", "no"),
        ("{% for p in profile.nothing %}{{ p }}{% else %}empty{% endfor %}", "empty"),
        ("{% if profile.nothing and profile.nothing.x == 1 %}!{% else %}no{% endif %}", "no"),
    ],
)
def test_default_and_guards_fill_a_hole_as_in_shopify(source: str, shown: str) -> None:
    assert text(source) == shown


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("{{ profile.firstName }}", "&lt;b&gt;Jo&lt;/b&gt; &amp; &#39;co&#39;"),
        ("{{ profile.firstName | raw }}", "<b>Jo</b> & 'co'"),
        ("{{ profile.firstName | escape }}", "&lt;b&gt;Jo&lt;/b&gt; &amp; &#39;co&#39;"),
        ("{{ '<i>' }}", "&lt;i&gt;"),
        ("{{ profile.nothing | default: '<i>' }}", "&lt;i&gt;"),
        ("{% cycle '<i>', 'b' %}", "&lt;i&gt;"),
        ("{% echo '<i>' %}", "&lt;i&gt;"),
        ("{% capture x %}<i>{{ '<b>' }}</i>{% endcapture %}{{ x }}", "<i>&lt;b&gt;</i>"),
        ("{{ 'a\nb' | newline_to_br }}", "a<br />\nb"),
        ('<a title="{{ \'"\' }}">', '<a title="&#34;">'),
    ],
)
def test_html_escapes_all_that_is_written_but_raw(source: str, shown: str) -> None:
    assert html(source) == shown


def test_no_filter_but_raw_lets_markup_through() -> None:
    hostile = {"x": "<script>", "b": "PHNjcmlwdD4=", "u": "%3Cscript%3E", "e": "&lt;script&gt;"}
    arguments = {
        "append": "'x'",
        "prepend": "'x'",
        "replace": "'a', 'b'",
        "remove": "'z'",
        "split": "','",
        "join": "','",
    }
    arguments |= {"default": "'x'", "truncate": "50", "truncatewords": "5", "slice": "0, 50", "money": "'EUR'"}
    arguments |= {"date": "'%Y'", "replace_first": "'a', 'b'", "replace_last": "'a', 'b'", "remove_first": "'z'"}
    arguments |= {"remove_last": "'z'", "concat": "x", "map": "'x'", "where": "'x'"}
    for name in HTML.filters.keys() - {"raw"}:
        for value in hostile:
            call = f"{name}: {arguments[name]}" if name in arguments else name
            with contextlib.suppress(Skip):
                assert "<script" not in render(HTML.from_string(f"{{{{ {value} | {call} }}}}"), hostile), call


def test_what_stands_behind_the_closing_is_written() -> None:
    """It was swallowed: every mail lacked its ``</body></html>``."""
    assert html("<body>a{% closing %}</body></html>") == "<body>a</body></html>"
    assert html("{% closing %}{{ 'b' }}") == "b"


def test_text_escapes_nothing_and_shows_no_markup() -> None:
    assert text("{{ profile.firstName }}") == "<b>Jo</b> & 'co'"
    assert text("{{ '<b>Jo</b> &amp; co' | raw }}") == "Jo & co"
    assert text("{{ 'a & b' | escape }}") == "a & b"
    assert text("{{ 'a\nb' | newline_to_br }}") == "a\nb"


def test_dates_are_shown_in_the_persons_zone_and_never_read_a_clock() -> None:
    assert text("{{ now | date: '%Y-%m-%d %H:%M' }}", zone=zone("Asia/Tokyo")) == "2026-09-21 23:13"
    assert text("{{ 'now' | date: '%H:%M' }} {{ 'today' | date: '%d' }}") == "14:13 21"
    assert text("{{ now | date: '%H:%M', 'Europe/Berlin' }}") == "16:13"
    assert text("{{ 1790000000 | date: '%H:%M' }} {{ 1790000000000 | date: '%H:%M' }}") == "14:13 14:13"
    assert text("{{ '2026-03-01' | date: '%-d %b %Y' }}", zone=zone("America/New_York")) == "1 Mar 2026"
    assert text("{{ 'soon' | date: '%Y' }}") == "soon"
    assert reason("{{ today }}") == "missing: today"


def test_money() -> None:
    assert text("{{ 1234.5 | money: 'GBP' }}") == "£1,234.50"
    assert text("{{ '12.5' | money: 'eur' }}") == "€12.50"
    assert text("{{ 12.5 | money }}") == "12.50"
    assert reason("{{ 'x' | money: 'GBP' }}") == "liquid: 'x' is no amount"
    german = {"profile": {"locale": "de-DE"}}
    assert render(TEXT.from_string("{{ 1234.5 | money: 'EUR' }}"), german) == "1.234,50\xa0€"


@pytest.mark.parametrize(
    "source",
    [
        "{% for i in (1..1000000000) %}x{% endfor %}",
        "{% for i in (1..200) %}{% for j in (1..200) %}x{% endfor %}{% endfor %}",
        "{% assign a = 'xxxxxxxxxxxxxxxx' %}{% for i in (1..60) %}{% assign a = a | append: a %}{% endfor %}",
        "{% assign a = 'xxxxxxxxxxxxxxxx' %}{% for i in (1..15) %}{% assign a = a | append: a %}{% endfor %}"
        "{% for i in (1..100) %}{{ a }}{% endfor %}",
        "{% case 1 %}{% when 1, 1, 1, 1, 1, 1, 1, 1 %}" * 20 + "{% endcase %}" * 20,
        "{{ profile | json: 1000000000000 }}",
        "{{ big | replace: '', big }}",
        "{{ big | replace: sub: big, seq: '' }}",
        "{{ big | split: '' | join: big }}",
        "{{ big | split: '' | join: separator: big }}",
        "{{ (1..1000000000000) | join }}",
        "{% for i in (1..1000000000000) reversed limit: 2 %}{% endfor %}",
        "{% for i in (1..1000000000000) offset: 1000000000 %}{% endfor %}",
        "{% if (1..1000000000000) contains 'x' %}{% endif %}",
        "{{ 1 | divided_by: 0 }}",
        "{{ 'a' | slice: 'b' }}",
        "{% if profile.n > 'a' %}{% endif %}",
        "{{ profile.n | date: 5, 6 }}",
        "{{ now | date: '%999999999d' }}",
    ],
)
def test_what_is_too_much_or_makes_no_sense_skips_in_a_sentence(source: str) -> None:
    said = reason(source)
    assert said.startswith("liquid: ")
    assert "\n" not in said


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(sorted(HTML.filters)), JSON, st.lists(JSON, max_size=2))
@settings(deadline=None, max_examples=400)
def test_every_filter_takes_every_value_or_skips(name: str, value: object, arguments: list[object]) -> None:
    """Whatever a person's data holds, the outcome is text or a skip: never another error."""
    call = f"{name}: {', '.join('xyz'[: len(arguments)])}" if arguments else name
    names = {"value": value, **dict(zip("xyz", arguments, strict=False))}
    for env in (HTML, TEXT):
        with contextlib.suppress(Skip):
            assert isinstance(render(env.from_string(f"{{{{ value | {call} }}}}"), names), str)


@given(JSON, JSON)
@settings(deadline=None, max_examples=200)
def test_every_condition_and_loop_takes_every_value_or_skips(a: object, b: object) -> None:
    source = "{% if a OP b %}1{% endif %}{% for i in a limit: b %}{% if i.x == b %}{{ i }}{% endif %}{% endfor %}"
    for operator in ("==", "!=", "<", ">=", "contains"):
        with contextlib.suppress(Skip):
            assert isinstance(text_of(source.replace("OP", operator), {"a": a, "b": b}), str)


def text_of(source: str, names: dict[str, object]) -> str:
    return render(TEXT.from_string(source), names)


def test_latest_events_are_read_by_name() -> None:
    assert text('{{ last["Product Viewed"].first.properties.name }}') == "Lamp"
    assert text("{{ last['Product Viewed'][0].properties.name }}") == "Lamp"


def test_loops() -> None:
    line = "{{ forloop.index }}. {{ p.name }} {{ p.price | default: '-' }};"
    assert text(f"{{% for p in event.properties.products %}}{line}{{% endfor %}}") == "1. Cup 9.5;2. Tin -;"
