"""Every signature that we make is one that others can verify (dkimpy, an independent implementation)."""

import dkim
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.render.dkim import DkimKeyError, Signer, canonical_body, canonical_header
from tests.render.kit import compiled, keys, rendered

words = st.text(st.characters(), max_size=80) | st.sampled_from(
    ["a  b\t c ", " \r\n \r\n", "x" * 2000, "é" * 300, "\n\n\n", "🎉", "trailing   \n\n", "From x\n.y", ""]
)


def signatures(data: bytes) -> int:
    """How many there are; dkimpy verified each."""
    _, dns = keys()
    message = dkim.DKIM(data)
    count = data.count(b"DKIM-Signature:")
    assert all(message.verify(idx=number, dnsfunc=lambda name, timeout=5: dns.get(name)) for number in range(count))
    return count


@given(words, words, words)
@settings(deadline=None, max_examples=40)
def test_both_signatures_verify_whatever_the_message_says(subject: str, html: str, text: str) -> None:
    context = {"profile": {"s": subject, "h": html, "t": text}}
    template = compiled("<p>{{ profile.h | raw }}</p>", subject="Hi {{ profile.s }}", text="{{ profile.t }}")
    assert signatures(rendered(template, context, signers=keys()[0]).data) == 2


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"Subject: Hello", b"Subject: Goodbye"),
        lambda data: data.replace(b"From: Gift", b"From: Theft"),
        lambda data: data.replace(b"List-Unsubscribe: <https://mail", b"List-Unsubscribe: <https://evil"),
        lambda data: data.replace(b"List-Unsubscribe-Post: List", b"List-Unsubscribe-Post: Lost"),
        lambda data: data.replace(b"\r\nFrom: ", b"\r\nFrom: evil@example.com\r\nFrom: ", 1),
        lambda data: data.replace(b"\r\nSubject: ", b"\r\nSubject: Other\r\nSubject: ", 1),
        lambda data: data + b"one more line\r\n",
    ],
)
def test_a_changed_message_does_not_verify(change) -> None:
    data = rendered(signers=keys()[0]).data
    assert signatures(data) == 2
    changed = change(data)
    assert changed != data
    message = dkim.DKIM(changed)
    for number in range(2):
        with pytest.raises((AssertionError, dkim.ValidationError)):
            assert message.verify(idx=number, dnsfunc=lambda name, timeout=5: keys()[1].get(name))


@given(st.binary(max_size=200) | st.text(st.sampled_from(" \t\r\nab"), max_size=60).map(str.encode))
@settings(deadline=None, max_examples=300)
def test_bodies_are_canonical_as_dkimpy_has_them(body: bytes) -> None:
    body = body.replace(b"\r\n", b"\n").replace(b"\r", b"").replace(b"\n", b"\r\n") + b"\r\n"
    assert canonical_body(body) == dkim.canonicalization.Relaxed.canonicalize_body(body)


def test_header_of_the_rfc() -> None:
    """RFC 6376, section 3.4.5."""
    assert canonical_header("A", b" X") == b"a:X\r\n"
    assert canonical_header("B ".strip(), b" Y\t\r\n\tZ  ") == b"b:Y Z\r\n"
    assert canonical_body(b" C \r\nD \t E\r\n\r\n\r\n") == b" C\r\nD E\r\n"


def test_from_is_signed_once_more_than_it_occurs_and_all_list_fields_are() -> None:
    data = rendered(signers=keys()[0][:1]).data
    head = b"".join(data.split(b"\r\n\r\n")[0].split(b"\r\n "))
    names = head.split(b"h=")[1].split(b";")[0].replace(b" ", b"").split(b":")
    assert names.count(b"from") == 2
    assert {b"list-unsubscribe", b"list-unsubscribe-post"} <= set(names)


@pytest.mark.parametrize("pem", ["", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_key_that_cannot_sign_is_refused_by_name(pem: str) -> None:
    with pytest.raises(DkimKeyError, match=r"s1\._domainkey\.shop\.example"):
        Signer("shop.example", "s1", pem)
