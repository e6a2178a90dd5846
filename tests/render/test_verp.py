"""VERP: which message is this bounce about, and did we say so?"""

import random
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.config.rules import MAX_RETURN_PATH
from heliograph.events.ids import make_id
from heliograph.render import BadAddress, LinkKeys, ReturnPath, read_verp
from heliograph.render.verp import MAX_OWN
from tests.render.kit import KEYS, rendered

PATH = ReturnPath("bounce@mail.shop.example")
ids = st.integers(0, 2**64).map(lambda n: make_id("message", n))


@given(ids)
def test_a_bounce_names_its_message_however_relays_write_the_address(message_id: str) -> None:
    address = PATH.to(message_id, KEYS)
    local, _, domain = address.rpartition("@")
    assert (local.partition("+")[0], domain) == ("bounce", "mail.shop.example")
    assert set(local) <= set(string.ascii_lowercase + string.digits + "+")
    for written in (address, address.upper(), f"<{address}>", f"{local}@forwarder.example"):
        assert read_verp(written, KEYS) == message_id


@given(ids)
def test_the_local_part_keeps_within_64_octets(message_id: str) -> None:
    longest = ReturnPath("b" * 18 + "@mail.shop.example")
    assert len(longest.to(message_id, KEYS).rpartition("@")[0]) == 64


def test_no_other_token_is_believed() -> None:
    address = PATH.to(make_id("message", 1), KEYS)
    seed = 4711
    chance = random.Random(seed)
    at = address.index("+") + 1
    for _ in range(2_000):
        place = chance.randrange(at, at + 45)
        letter = chance.choice("abcdefghijklmnopqrstuvwxyz234567")
        forged = address[:place] + letter + address[place + 1 :]
        found = read_verp(forged, KEYS)
        # The last character has bits to spare; the same octets are the same token.
        assert found is None or place == at + 44 or forged == address, f"seed {seed}: {forged}"


@given(st.text() | st.text(st.sampled_from("+@ab2=<>\0ä"), max_size=90) | st.just("bounce+" + "a" * 10_000 + "@x"))
def test_whatever_comes_in_is_read_without_a_fuss(address: str) -> None:
    assert read_verp(address, KEYS) is None


def test_every_key_verifies_the_newest_signs() -> None:
    message_id = make_id("message", 1)
    old = LinkKeys({1: KEYS.secrets[1]})
    assert read_verp(PATH.to(message_id, old), KEYS) == message_id
    assert read_verp(PATH.to(message_id, KEYS), old) is None


def test_an_id_that_fits_no_token_goes_without() -> None:
    assert read_verp(PATH.to("test-1", KEYS), KEYS) == "test-1"
    assert PATH.to("x" * 60, KEYS) == "bounce@mail.shop.example"


@pytest.mark.parametrize(
    "text",
    ["bounce", "Bounces <b@x.example>", "böunce@x.example", "a+b@x.example", "b" * 19 + "@x.example", "a@b\r\nc"],
)
def test_a_return_path_that_cannot_carry_a_token_is_refused(text: str) -> None:
    with pytest.raises(BadAddress, match=r"return_path|no email address"):
        ReturnPath(text)


def test_the_settings_know_how_much_room_there_is() -> None:
    assert MAX_RETURN_PATH == MAX_OWN


def test_a_message_leaves_from_its_own_return_path() -> None:
    message = rendered(return_path="bounce@bücher.example")
    assert message.sender.endswith("@xn--bcher-kva.example")
    assert read_verp(message.sender, KEYS) == "abcdefghijklmnopqrstuvwxya"
    assert b"bounce" not in message.data
    assert rendered().sender == "hello@shop.example"
