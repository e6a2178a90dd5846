"""SMTP's bytes and urls, without a network."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.adapters.smtp.url import BadUrl, Relay, parse_url
from heliograph.adapters.smtp.wire import (
    MAX_LINE,
    Offer,
    ProtocolError,
    Refused,
    Reply,
    ReplyReader,
    envelope,
    read_offer,
    stuffed,
)

LINES = st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=30), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("url", "relay"),
    [
        ("smtp://relay.example", Relay("relay.example", 25)),
        ("smtps://relay.example", Relay("relay.example", 465, "implicit")),
        ("smtp://user:pass%40word@127.0.0.1:1025?starttls=required",
         Relay("127.0.0.1", 1025, "required", "user", "pass@word")),
        ("smtp://a%40b.example:%C3%A9@h:587?starttls=off", Relay("h", 587, "off", "a@b.example", "é")),
        ("smtp://[::1]:2525", Relay("::1", 2525)),
        ("smtp://user@h", Relay("h", 25, "optional", "user", "")),
    ],
)  # fmt: skip
def test_a_url_names_the_relay(url: str, relay: Relay) -> None:
    assert parse_url(url) == relay


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("", "smtp:// or smtps://"),
        ("http://h", "not 'http'"),
        ("smtp://", "no host"),
        ("smtp://h:0", "port"),
        ("smtp://h:secret", "port"),
        ("smtp://h:25?tls=on", "unknown option 'tls'"),
        ("smtp://h?starttls=maybe", "required, optional or off"),
        ("smtps://h?starttls=required", "TLS from the first byte"),
        ("smtp://u:se/cret@h", "port"),
        ("smtp://u:%ff@h", "percent-encoded UTF-8"),
        ("smtp://u:%0d%0a@h", "control character"),
    ],
)
def test_a_bad_url_says_what_to_write_and_keeps_the_secret(url: str, hint: str) -> None:
    with pytest.raises(BadUrl) as caught:
        parse_url(url)
    assert hint in str(caught.value)
    assert "secret" not in str(caught.value) and "se/cret" not in str(caught.value)


@given(LINES)
@settings(deadline=None)
def test_stuffing_is_undone_by_the_receiver(lines: list[str]) -> None:
    data = b"".join(line.encode() + b"\r\n" for line in lines)
    wire = stuffed(data).split(b"\r\n")[:-1]
    assert b"." not in wire
    assert b"".join((line[1:] if line.startswith(b".") else line) + b"\r\n" for line in wire) == data


@pytest.mark.parametrize(
    "data", [b"a\nb\r\n", b"a\rb\r\n", b"a\r\n.\nMAIL FROM:<x@y>\r\n", b"a\n.\r\nb\r\n", b"a\r\r\n", b"\n\r\n"]
)
def test_a_bare_line_end_is_refused(data: bytes) -> None:
    """SMTP smuggling (CVE-2023-51764): no lax relay may find a second message in ours."""
    with pytest.raises(Refused):
        stuffed(data)


@given(st.lists(st.tuples(st.integers(200, 599), LINES), min_size=1, max_size=5), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_replies_do_not_depend_on_packets(replies: list[tuple[int, list[str]]], random: object) -> None:
    stream = b"".join(
        b"%d%s%s\r\n" % (code, b" " if i == len(lines) - 1 else b"-", line.encode())
        for code, lines in replies
        for i, line in enumerate(lines)
    )
    reader, got, at = ReplyReader(), [], 0
    while at < len(stream):
        size = random.randint(1, 7)  # type: ignore[attr-defined]
        got += reader.feed(stream[at : at + size])
        at += size
    assert [(reply.code, [line.decode() for line in reply.lines]) for reply in got] == replies


@pytest.mark.parametrize("junk", [b"hi\r\n", b"99 x\r\n", b"650 x\r\n", b"250_x\r\n", b"250-a\r\n251 b\r\n", b"\r\n"])
def test_what_is_no_reply_is_a_protocol_error(junk: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(ReplyReader().feed(junk))


def test_a_reply_has_bounds() -> None:
    with pytest.raises(ProtocolError):
        list(ReplyReader().feed(b"250 " + b"x" * MAX_LINE))
    reader = ReplyReader()
    with pytest.raises(ProtocolError):
        for _ in range(2000):
            list(reader.feed(b"250-" + b"x" * 60 + b"\r\n"))


def test_a_reply_in_one_line_repeats_no_code_and_prints_no_control_character() -> None:
    reply = Reply(550, [b"5.7.1 Go", b"5.7.1 away\x1b[2J"])
    assert str(reply) == "550 5.7.1 Go away?[2J"
    assert reply.enhanced == "5.7.1"


def test_the_offer_is_read_from_ehlo() -> None:
    reply = Reply(250, [b"host hi", b"PIPELINING", b"SIZE 1000", b"8BITMIME", b"AUTH PLAIN LOGIN", b"AUTH=CRAM-MD5"])
    offer = read_offer(reply)
    assert offer == Offer(
        pipelining=True, eightbit=True, sizes=True, size=1000, auth=frozenset({"PLAIN", "LOGIN", "CRAM-MD5"})
    )


def test_the_envelope_says_what_the_server_takes() -> None:
    offer = Offer(sizes=True, eightbit=True, smtputf8=True)
    assert envelope("a@b.example", "c@d.example", b"x\r\n", offer) == (
        b"MAIL FROM:<a@b.example> SIZE=3\r\n",
        b"RCPT TO:<c@d.example>\r\n",
    )
    assert envelope("a@b.example", "é@d.example", "é".encode(), offer)[0] == (
        b"MAIL FROM:<a@b.example> SMTPUTF8 SIZE=2 BODY=8BITMIME\r\n"
    )


def test_a_header_beyond_ascii_needs_smtputf8_a_body_does_not() -> None:
    offer = Offer(eightbit=True, smtputf8=True)
    header, body = "Reply-To: é@b.example\r\n\r\nx".encode(), "X: y\r\n\r\né".encode()
    assert envelope("a@b.example", "c@d.example", header, offer)[0].endswith(b"> SMTPUTF8 BODY=8BITMIME\r\n")
    assert envelope("a@b.example", "c@d.example", body, offer)[0].endswith(b"> BODY=8BITMIME\r\n")


@pytest.mark.parametrize(
    ("recipient", "data", "offer", "enhanced"),
    [
        ("é@d.example", b"x", Offer(), "5.6.7"),
        ("a@d.example", b"xx", Offer(sizes=True, size=1), "5.3.4"),
        ("a@d.example", b"X: y\r\n\r\n\xc3\xa9", Offer(), "5.6.3"),
        ("a@d.example", b"Reply-To: \xc3\xa9@b.example\r\n\r\nx", Offer(eightbit=True), "5.6.7"),
        ("a@d.example>\r\nDATA", b"x", Offer(), "5.1.3"),
        ("a b@d.example", b"x", Offer(), "5.1.3"),
        ("", b"x", Offer(), "5.1.3"),
    ],
)
def test_what_cannot_travel_is_refused_with_its_kind(recipient: str, data: bytes, offer: Offer, enhanced: str) -> None:
    with pytest.raises(Refused) as caught:
        envelope("a@b.example", recipient, data, offer)
    assert caught.value.enhanced == enhanced
