"""From a template folder to what a plan carries."""

import msgspec
import pytest

from heliograph.render import Problem, TemplateError, compile_template, load, refuse_locales, render_message
from tests.render.kit import compiled, envelope, part, rendered

SHOP = """<mjml>
<mj-head><mj-title>{{ profile.firstName }}</mj-title><mj-style inline="inline">.name { color: #c00; }</mj-style>
</mj-head>
<mj-body>
{% comment %} <mj-section> that never was {% endcomment %}
{% if profile.vip %}
<mj-section background-color="{{ profile.colour | default: '#fff' }}"><mj-column>
  {% for p in event.properties.products %}
  <mj-text><span class="name">{{ p.name }}</span>{% if p.price > 3 %} dear{% endif %}<br>&nbsp;
    <a href="https://shop.example/?id={{ p.id | url_encode }}&amp;x=1">see</a></mj-text>
  {% endfor %}
  <mj-table>
    <tr><th>Item</th><th>Qty</th></tr>
    {% for p in event.properties.products %}<tr><td>{{ p.name }}</td><td>{{ p.quantity }}</td></tr>{% endfor %}
  </mj-table>
  <mj-button href="{{ urls.preferences }}">Choose</mj-button>
  <mj-image src="https://shop.example/{{ profile.id }}.png" alt="A cup" href="https://shop.example/cup" />
</mj-column></mj-section>
{% else %}
<mj-section><mj-column><mj-text>Plain</mj-text></mj-column></mj-section>
{% endif %}
<mj-section><mj-column><mj-raw>{% if profile.vip %}</mj-raw><mj-text>Raw</mj-text><mj-raw>{% endif %}</mj-raw>
</mj-column></mj-section>
</mj-body>
</mjml>"""
PRODUCTS = [
    {"id": "a b", "name": "Cup & <Tin>", "price": 9, "quantity": 2},
    {"id": "2", "name": "Tea", "price": 1, "quantity": 1},
]
CONTEXT = {"profile": {"id": "u1", "firstName": "Ana", "vip": True}, "event": {"properties": {"products": PRODUCTS}}}


def problems(body: str = "<p>x</p>", kind: str = "html", text: str | None = None, **message) -> list[str]:
    with pytest.raises(TemplateError) as refused:
        compile_template("t", {"subject": "s", **message}, body, kind, text)
    return [str(problem) for problem in refused.value.problems]


def test_mjml_with_loops_conditions_and_values_anywhere() -> None:
    html = rendered(compiled(SHOP, "mjml"), CONTEXT, track=False).html
    assert "mj-" not in html.replace("mj-column-per", "").replace("mj-outlook", "").replace("mj-full-width", "")
    assert "{%" not in html
    assert "hliq" not in html
    assert html.count("Cup &amp; &lt;Tin&gt;") == 2
    assert html.count(" dear") == 1
    assert 'href="https://shop.example/?id=a+b&amp;x=1"' in html
    assert html.count("background:#fff") >= 1
    assert "<tr><td>Tea</td><td>1</td></tr></tbody>" in html
    assert 'class="name" style="color: #c00;"' in html
    assert "<title>Ana</title>" in html
    assert "Plain" not in html
    assert "Raw" in html
    assert "googleapis" not in html
    other = rendered(compiled(SHOP, "mjml"), {"profile": {"firstName": "Ana"}, "event": None}).html
    assert "Plain" in other
    assert "Raw" not in other


def test_the_text_part_says_the_same() -> None:
    text = rendered(compiled(SHOP, "mjml"), CONTEXT).text
    head, _, rest = text.partition("Item  Qty\n")
    assert head.replace("\xa0", "") == (
        "Cup & <Tin> dear\n see (https://shop.example/?id=a+b&x=1)\n\nTea\n see (https://shop.example/?id=2&x=1)\n\n"
    ).replace("\n\nTea", "\nTea").replace("&x=1)\n\n", "&x=1)\n")
    assert rest.startswith("Cup & <Tin>  2\nTea  1\n\nChoose (https://mail.shop.example/p/")
    assert "A cup (https://shop.example/cup)" in text


def test_html_gets_its_styles_inline_with_liquid_unharmed() -> None:
    body = """<html><head><style>p { color: {{ profile.colour | default: 'red' }} }
    @media print { p { color: blue } }</style></head><body><table><tr><td>
    {% for i in (1..2) %}<p class="{% if i == 1 %}a{% else %}b{% endif %}">{{ i }}</p>{% endfor %}</td></tr>
    {% for i in (3..4) %}<tr><td>{{ i }}</td></tr>{% endfor %}</table></body></html>"""
    html = rendered(compiled(body), track=False).html
    assert '<p class="a" style="color: red' in html
    assert '<p class="b" style="color: red' in html
    assert "<tr><td>3</td></tr><tr><td>4</td></tr>" in html
    assert "@media print" in html


def test_html_without_styles_is_left_as_it_is() -> None:
    body = "<TABLE {% if profile.firstName == 'Ana' %}border='1'{% endif %}>\n<tr><td>{{ profile.firstName }}</table>"
    assert rendered(compiled(body), track=False, postal_address="").html.startswith(
        "<TABLE border='1'>\n<tr><td>Ana</table>"
    )


def test_preheader_comes_first_hidden_escaped_and_only_in_html() -> None:
    message = rendered(compiled("<html><body><p>Hi</p></body></html>", preheader="A & {{ '<b>' }}"))
    assert message.html.index("&lt;b&gt;") < message.html.index("<p>Hi</p>")
    assert "display:none" in message.html
    assert not message.text.startswith("A &")


def test_a_hand_made_text_part_is_kept() -> None:
    message = rendered(compiled("<p>html</p>", text="Dear {{ profile.firstName }},\n\n\n\nbye  \n"))
    assert message.text.startswith("Dear Ana,\n\nbye\n")


def test_lists_rules_links_and_images_become_text() -> None:
    body = """<h1>Title</h1><ul><li>one</li><li>two <ol><li>deep</li></ol></li></ul><hr>
    <p>See <a href="https://a.example">https://a.example</a>, <a href="mailto:x@y.example">x@y.example</a>,
    <a href="#top">top</a> <a href="https://b.example"><img src="https://b.example/x" alt="logo"></a></p>
    <script>no()</script>
    <div style="display: none">hidden {{ profile.firstName }}</div><pre>  pre</pre>line<br>break"""
    text = compiled(body)["text"]
    assert text.startswith("Title\n\n- one\n- two\n")
    assert "1. deep" in text
    assert "See https://a.example, x@y.example, top logo (https://b.example)" in text
    assert "no()" not in text
    assert "hidden" not in text
    assert text.endswith("line\nbreak\n")


def test_what_is_read_is_listed() -> None:
    template = compiled(
        '{{ profile["first.name"] }}{% for p in event.properties.products %}{{ p.name }}{% endfor %}'
        '{{ last["Product Viewed"].first.properties.id }}{% assign x = now %}{{ x }}'
        "{% assign viewed = last['Cart Viewed'] %}{{ viewed[0].name }}",
        subject="{{ profile.city }}",
        preheader="{{ run.key }}",
        text="{{ trigger.name }}",
    )
    assert template["last"] == ["Cart Viewed", "Product Viewed"]
    assert template["paths"] == [
        "event.properties.products",
        "event.properties.products.*.name",
        "last.Cart Viewed",
        "last.Cart Viewed.*.name",
        "last.Product Viewed.first.properties.id",
        "now",
        "profile.city",
        "profile.first\\.name",
        "run.key",
        "trigger.name",
    ]
    assert compiled('<a href="https://a.example/{{ profile.id }}">')["links"] == ["https://a.example/{{ profile.id }}"]


def test_the_compiled_template_is_json_and_loads_again() -> None:
    template = compiled(SHOP, "mjml", **{"class": "transactional", "freshness": "PT6H", "on_unknown": "resend"})
    assert template["freshness_ms"] == 6 * 3_600_000
    assert (template["class"], template["on_unknown"], template["sender"]) == ("transactional", "resend", "default")
    again = msgspec.json.decode(msgspec.json.encode(template))
    assert again == template
    assert "Choose" in render_message(load(again), CONTEXT, envelope()).html


def test_the_version_names_the_contents() -> None:
    versions = {compiled()["version"], compiled("<p>other</p>")["version"], compiled(subject="other")["version"]}
    assert len(versions) == 3
    assert all(len(version) == 8 for version in versions)
    assert compiled()["version"] == compiled()["version"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("<p>\n{{ firstName }}", "body.html:2: nothing provides `firstName`; did you mean 'profile.firstName'?"),
        ("{{ profil.firstName }}", "body.html:1: nothing provides `profil`; did you mean 'profile'?"),
        ("\n\n{{ profile.x | upcas }}", "body.html:3: Liquid: there is no filter 'upcas'; did you mean 'upcase'?"),
        ("{{ profile.x | safe }}", "body.html:1: Liquid: there is no filter 'safe'; write `raw`"),
        ("{{ items[1].name }}", "body.html:1: `items` is not in this version"),
        ("{{ coupon.TENOFF }}", "body.html:1: `coupon` is not in this version"),
        ("{{ urls.view }}", "body.html:1: `urls.view` is not in this version"),
        ("{{ urls.unsubscrib }}", "body.html:1: `urls` has unsubscribe and preferences, not `unsubscrib`"),
        (
            "{{ last[profile.x] }}",
            'body.html:1: `last` needs the name of an event as it stands: last["Product Viewed"]',
        ),
        ("{% include 'x' %}", "body.html:1: Liquid: 'include' is not in this version"),
        ("a\n{% frobnicate %}", "body.html:2: Liquid: unexpected tag 'frobnicate'"),
        ("a\n{{ profile.x y }}", "body.html:2: Liquid: expected end of expression, found word"),
        (
            "{{ profile.limit }}",
            "body.html:1: Liquid: expected an identifier, found limit; 'limit' is a word of Liquid, write [\"limit\"]",
        ),
        ("a\n<a href={{ profile.x }}>", "body.html:2: put quotes around {{ profile.x }} in <a>"),
        (
            "<style>p{}</style>\n<p {{ profile.x }}>",
            "body.html:2: {{ profile.x }} stands between the attributes of <p>: put it inside the quotes of a value",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(body: str, said: str) -> None:
    assert said in problems(body)


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        ("<mj-sectoin></mj-sectoin>", "body.mjml:2: <mj-sectoin> is no MJML element; did you mean 'mj-section'?"),
        (
            "<mj-section><mj-column></mj-section>",
            "body.mjml:2: <mj-column> is not closed before </mj-section> on line 2",
        ),
        ("<mj-section>\n</mj-section></mj-section>", "body.mjml:3: </mj-section> closes nothing"),
        (
            "<mj-section><mj-column><mj-accordion><mj-accordion-element>{% if profile.x %}<mj-accordion-title>a"
            "</mj-accordion-title>{% endif %}</mj-accordion-element></mj-accordion></mj-column></mj-section>",
            "body.mjml:2: {% if profile.x %} cannot stand here: the MJML or CSS compiler drops it",
        ),
    ],
)
def test_a_mistake_in_mjml_is_named_with_its_line(inner: str, said: str) -> None:
    assert said in problems(f"<mjml><mj-body>\n{inner}</mj-body></mjml>", "mjml")


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"subject": ""}, "subject: a message needs one"),
        ({"class": "bulk"}, "class: 'bulk' is none of marketing, transactional"),
        ({"on_unknown": "retry"}, "on_unknown: 'retry' is none of hold, resend"),
        ({"freshness": "6h"}, "freshness: '6h' is not an ISO-8601 duration, like PT30M, P1D or P7D"),
        ({"freshness": "PT0S"}, "freshness: 'PT0S' is no length of time, like PT6H"),
        ({"preheadr": "x"}, "unknown key 'preheadr'; did you mean 'preheader'?"),
        ({"subject": 5}, "subject: expected text, found int"),
        ({"subject": "{{ profile.x"}, "Liquid: "),
    ],
)
def test_a_mistake_in_the_message_is_named(message: dict, said: str) -> None:
    assert any(line.startswith("message.yaml") and said in line for line in problems(**message))


def test_every_mistake_is_found_at_once() -> None:
    assert len(problems("{{ a }}\n{{ b | c }}", subject="{{ d }}", freshness="x", text="{{ items }}")) == 6


def test_what_is_not_text_is_refused_with_its_line() -> None:
    with pytest.raises(TemplateError) as refused:
        compile_template("t", {"subject": "s"}, b"fine\n\xff", "html")
    assert refused.value.problems == [Problem("body.html", 2, "this is not UTF-8")]


def test_locales_are_for_later() -> None:
    refuse_locales([])
    with pytest.raises(TemplateError, match="not in this version"):
        refuse_locales(["locales/de/body.txt"])


def test_a_4_kb_body_in_every_script_reads_back() -> None:
    body = "<p>" + "Grüße, 你好, שלום, 🎉 " * 100 + "{{ profile.firstName }}</p>"
    message = rendered(compiled(body))
    assert part(message.data, "html").startswith(body.replace("{{ profile.firstName }}", "Ana"))
