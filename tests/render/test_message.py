"""A whole message, judged by its bytes."""

import re

import pytest

from heliograph.render import BadAddress, Skip, load, verify
from tests.render.kit import (
    KEYS,
    PERSON,
    POSTAL,
    assert_lawful,
    compiled,
    envelope,
    field_names,
    keys,
    parsed,
    part,
    rendered,
)

HEAD = [
    "From", "To", "Subject", "Date", "Message-ID", "Reply-To", "List-Unsubscribe", "List-Unsubscribe-Post",
    "List-Id", "Feedback-ID", "MIME-Version", "Content-Type",
]  # fmt: skip


def test_a_message_says_who_what_when_and_how_to_stop_it() -> None:
    message = rendered()
    assert_lawful(message.data)
    assert field_names(message.data) == HEAD
    mail = parsed(message.data)
    assert mail["From"] == "Gift Shop <hello@shop.example>"
    assert mail["To"] == "ana@example.com"
    assert mail["Reply-To"] == "care@shop.example"
    assert mail["Subject"] == message.subject == "Hello Ana"
    assert mail["Date"] == "Mon, 21 Sep 2026 14:13:20 +0000"
    assert mail["Message-ID"] == "<abcdefghijklmnopqrstuvwxya@shop.example>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert (message.sender, message.recipient, message.smtputf8) == ("hello@shop.example", "ana@example.com", False)
    assert [each.get_content_type() for each in mail.iter_parts()] == ["text/plain", "text/html"]
    assert part(message.data, "plain").startswith("Hello Ana\n")
    assert "<p>Hello Ana</p>" in part(message.data, "html")


def test_the_same_arguments_give_the_same_bytes() -> None:
    assert rendered(signers=keys()[0][1:]).data == rendered(signers=keys()[0][1:]).data
    assert rendered().data != rendered(message_id="another").data


def test_one_click_unsubscribe_works_from_the_header_and_the_body() -> None:
    data = rendered(
        compiled('<a href="{{ urls.unsubscribe }}">stop</a> <a href="{{ urls.preferences }}">choose</a>')
    ).data
    header = re.search(rb"\r\nList-Unsubscribe: <https://mail\.shop\.example/u/([\w-]+)>\r\n", data)
    assert header
    claims = verify("u", header[1].decode(), KEYS)
    assert claims
    assert (claims.address, claims.topic, claims.key) == ("ana@example.com", "offers", "u:u1")
    html = part(data, "html")
    assert f'href="https://mail.shop.example/u/{header[1].decode()}"' in html
    token = re.search(r'href="https://mail\.shop\.example/p/([\w-]+)"', html)
    assert token
    assert verify("p", token[1], KEYS) == claims


def test_a_url_of_900_characters_stays_whole_on_one_line() -> None:
    base = "https://mail.shop.example/" + "x" * 790
    data = rendered(base_url=base, signers=keys()[0]).data
    assert_lawful(data)
    (line,) = re.findall(rb"\r\nList-Unsubscribe: (<[^\r]+>)\r\n", data)
    assert len(line) >= 900
    assert b"=?" not in line
    assert parsed(data)["List-Unsubscribe"] == line.decode()


def test_transactional_mail_has_no_opt_out_and_no_postal_address() -> None:
    message = rendered(compiled(**{"class": "transactional"}), topic=None)
    assert "List-Unsubscribe" not in field_names(message.data)
    assert POSTAL not in part(message.data, "html")
    assert POSTAL not in part(message.data, "plain")


def test_marketing_carries_the_postal_address_once_and_a_way_out() -> None:
    for body in ("<p>Hi</p>", f"<p>Hi</p><p>{POSTAL} <a href='{{{{ urls.unsubscribe }}}}'>stop</a></p>"):
        message = rendered(compiled(body))
        for subtype in ("plain", "html"):
            content = part(message.data, subtype)
            assert content.count(POSTAL) == 1
            assert content.count("https://mail.shop.example/u/") == 1


def test_clicks_are_counted_and_opens_seen_unless_tracking_is_off() -> None:
    template = compiled('<a href="https://shop.example/?a={{ profile.firstName }}&amp;b=1">x</a><a href="#top">y</a>')
    html = part(rendered(template).data, "html")
    tokens = re.findall(r'href="https://mail\.shop\.example/c/([\w-]+)"', html)
    assert [claims.url for token in tokens if (claims := verify("c", token, KEYS))] == [
        "https://shop.example/?a=Ana&b=1"
    ]
    assert 'href="#top"' in html
    assert html.count('<img src="https://mail.shop.example/o/') == 1
    plain = part(rendered(template, track=False).data, "html")
    assert 'href="https://shop.example/?a=Ana&amp;b=1"' in plain
    assert "/o/" not in plain
    assert "/c/" not in plain


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", " JaVaScRiPt:alert(1)", "data:text/html,<script>", "vbscript:x"]
)
def test_a_link_from_a_persons_data_cannot_be_a_script(url: str) -> None:
    html = rendered(compiled('<a href="{{ profile.url }}">x</a>'), {"profile": {"url": url, "firstName": "A"}}).html
    assert '<a href="#">' in html


HOSTILE = [
    "x\r\nBcc: victim@example.com",
    "x\nBcc: victim@example.com",
    "x\rBcc: victim@example.com",
    "x\0\r\n\r\nbody",
    "x\u2028Bcc: v@example.com\u2029\x85\x0b\x0c",
    "=?utf-8?q?x=0D=0ABcc:_v@example.com?=",
    "=?utf-8?b?eA0KQmNjOiB2QGV4YW1wbGUuY29t?=",
    "\ud800 alone \udfff",
    "word " * 2_000,
    "x" * 10_000,
    "🎉👩‍👩‍👧‍👦" * 40,
    "שלום עולם \u202e reversed",
    "\r\n.\r\nMAIL FROM:<x@y>",
]


@pytest.mark.parametrize("value", HOSTILE)
def test_no_trait_changes_a_header_or_breaks_a_line(value: str) -> None:
    template = compiled(
        '<p title="{{ profile.firstName }}">{{ profile.firstName }} {{ profile.firstName | raw }}</p>',
        preheader="{{ profile.firstName }}",
        text="{{ profile.firstName }}",
    )
    message = rendered(template, {"profile": {"firstName": value}}, signers=keys()[0])
    assert_lawful(message.data)
    assert field_names(message.data) == ["DKIM-Signature", "DKIM-Signature", *HEAD]
    mail = parsed(message.data)
    assert "Bcc" not in mail
    assert len(list(mail.iter_parts())) == 2
    assert all(not each.defects for each in mail.walk())
    assert mail["Subject"] == message.subject
    assert not re.search("[\r\n\0\u2028\u2029\x85\ud800-\udfff]", message.subject)


@pytest.mark.parametrize("value", HOSTILE[:9])
def test_no_setting_changes_a_header(value: str) -> None:
    for changes in (
        {"from_": f"{value} <a@b.example>"},
        {"reply_to": f"{value} <a@b.example>"},
        {"postal_address": value},
    ):
        message = rendered(**changes)
        assert_lawful(message.data)
        assert field_names(message.data) == HEAD


@pytest.mark.parametrize(
    "address", ["a@b\r\nBcc: x@y.example", "a@b, c@d", "a b@c", "@", "a@", "a\u2028@b", "x" * 330 + "@b"]
)
def test_what_is_no_address_gets_no_mail(address: str) -> None:
    with pytest.raises(Skip, match="bad_address"):
        rendered(to=address)


def test_a_link_that_fits_no_line_is_a_reason_not_to_send() -> None:
    with pytest.raises(Skip, match="header: List-Unsubscribe does not fit"):
        rendered(key="u:" + "x" * 1_000)


def test_nobody_gets_no_mail() -> None:
    with pytest.raises(Skip, match="no_address"):
        rendered(to="")
    with pytest.raises(Skip, match="missing: subject"):
        rendered(compiled(subject="{{ profile.blankish | default: ' ' }}"))


def test_addresses_beyond_ascii() -> None:
    idn = rendered(to="ana@bücher.example")
    assert (idn.recipient, idn.smtputf8) == ("ana@xn--bcher-kva.example", False)
    local = rendered(to="jörg@example.com")
    assert local.smtputf8
    assert "To: jörg@example.com\r\n".encode() in local.data
    named = rendered(from_='"Bücher, & Co" <hello@shop.example>')
    assert parsed(named.data)["From"].addresses[0].display_name == "Bücher, & Co"
    with pytest.raises(BadAddress):
        rendered(from_="Gift Shop")


def test_times_in_the_context_are_instants_for_the_template() -> None:
    template = compiled(
        "{{ now }} {{ event.occurred_at | date: '%H:%M' }} {{ event.context.timezone }} {{ run.entered_at }}",
        subject="x",
    )
    context = {
        "profile": {},
        "event": {"occurred_at": 1_789_999_000_000, "context": {"timezone": "Asia/Tokyo"}},
        "run": {"entered_at": 0},
        "now": 5,
    }
    text = rendered(template, context).text
    assert text.startswith("2026-09-21T14:13:20Z 22:56 Asia/Tokyo 1970-01-01T00:00:00Z")


def test_one_template_is_parsed_once() -> None:
    template = compiled()
    assert load(template) is load(dict(template))
    assert envelope().track
    assert PERSON["firstName"] == "Ana"
