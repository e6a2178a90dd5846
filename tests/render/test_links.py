"""Links that only we can make: signed, by kind, self-contained, never an open redirect."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.render import Claims, LinkKeys, MessageLinks, sign, verify
from heliograph.render.links import MAX_URL, MIN_SECRET
from tests.render.kit import KEYS

CLAIMS = Claims("abcdefghijklmnopqrstuvwxya", "u:u1", "ana@example.com", "offers")
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(words, words, words, st.none() | words)
@settings(deadline=None, max_examples=100)
def test_what_was_signed_comes_back(message_id: str, key: str, address: str, topic: str | None) -> None:
    claims = Claims(message_id, key, address, topic)
    for kind in ("u", "p", "o"):
        assert verify(kind, sign(kind, claims, KEYS), KEYS) == claims


def test_a_token_is_compact_and_safe_in_a_url() -> None:
    token = sign("u", CLAIMS, KEYS)
    assert len(token) < 110
    assert token.replace("-", "").replace("_", "").isalnum()


@given(st.binary(min_size=MIN_SECRET, max_size=200), words)
@settings(deadline=None, max_examples=100)
def test_the_mac_is_hmac(secret: bytes, url: str) -> None:
    token = sign("c", msgspec.structs.replace(CLAIMS, url=url), LinkKeys({7: secret}))
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    assert raw[1:17] == hmac.digest(secret, b"c\7" + raw[17:], "sha256")[:16]


def test_a_token_of_one_kind_is_worth_nothing_as_another() -> None:
    claims = Claims(
        *(getattr(CLAIMS, name) for name in ("message_id", "key", "address", "topic")), url="https://a.example/"
    )
    for made in ("u", "p", "c", "o"):
        for read in ("u", "p", "c", "o"):
            assert (verify(read, sign(made, claims, KEYS), KEYS) is not None) == (made == read)


def test_every_changed_bit_is_noticed() -> None:
    token = sign("u", CLAIMS, KEYS)
    raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
    for at in range(len(raw)):
        for bit in (1, 128):
            forged = raw[:at] + bytes((raw[at] ^ bit,)) + raw[at + 1 :]
            assert verify("u", urlsafe_b64encode(forged).decode().rstrip("="), KEYS) is None


@given(st.text(max_size=200) | st.binary(max_size=100).map(lambda raw: urlsafe_b64encode(raw).decode()))
@settings(deadline=None, max_examples=200)
def test_any_text_is_answered_without_raising(token: str) -> None:
    assert verify("u", token, KEYS) is None


def test_old_keys_still_verify_and_the_newest_signs() -> None:
    old = LinkKeys({1: KEYS.secrets[1]})
    assert verify("u", sign("u", CLAIMS, old), KEYS) == CLAIMS
    assert verify("u", sign("u", CLAIMS, KEYS), old) is None


@pytest.mark.parametrize("secrets", [{}, {1: b"short"}, {256: b"x" * 32}, {-1: b"x" * 32}])
def test_keys_that_protect_nothing_are_refused(secrets: dict[int, bytes]) -> None:
    with pytest.raises(ValueError):
        LinkKeys(secrets)


@pytest.mark.parametrize("url", ["javascript:alert(1)", "data:text/html,x", "//evil.example", "", "ftp://a.example"])
def test_a_click_leads_to_web_addresses_only(url: str) -> None:
    claims = msgspec.structs.replace(CLAIMS, url=url)
    assert verify("c", sign("c", claims, KEYS), KEYS) is None


def test_links_of_a_message() -> None:
    links = MessageLinks("https://m.example/", CLAIMS, KEYS)
    assert links.unsubscribe().startswith("https://m.example/u/")
    assert verify("p", links.preferences().rpartition("/")[2], KEYS) == CLAIMS
    assert verify("o", links.open().rpartition("/")[2], KEYS) == CLAIMS
    target = "https://shop.example/?q=ä&b=1#frag"
    claims = verify("c", links.click(target).rpartition("/")[2], KEYS)
    assert claims is not None
    assert claims.url == target


@pytest.mark.parametrize(
    "url", ["mailto:a@b.example", "#top", "https://m.example/u/abc", "https://a.example/" + "x" * MAX_URL]
)
def test_what_cannot_be_tracked_is_left_alone(url: str) -> None:
    assert MessageLinks("https://m.example", CLAIMS, KEYS).click(url) == url
