"""Addresses: one spelling of each, and nothing that cannot be one."""

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from heliograph.events.identity import normalise_address

CHARACTERS = st.characters(max_codepoint=0x17F) | st.sampled_from("@. \t\u00ad\u200b\u2028\u212a<\\")


@settings(deadline=None)
@given(st.text(CHARACTERS, min_size=1, max_size=12))
@example("@")
@example("ann@home")
def test_no_blank_control_or_invisible_character_is_in_an_address(local: str) -> None:
    """Said once more in full, for the short cut that plain ASCII takes."""
    address = normalise_address(f"{local}@example.com")
    text = unicodedata.normalize("NFC", f"{local}@example.com".strip()).lower()
    hidden = any(c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text)
    if hidden or any(c in '<>,;:"()[]\\' for c in text) or text.count("@") > 1:
        assert address is None
    else:
        assert address == text


@pytest.mark.parametrize("written", [" Ann@Example.COM ", "ann@example.com\n"])
def test_case_and_white_space_around_it_do_not_count(written: str) -> None:
    assert normalise_address(written) == "ann@example.com"
