"""Ids are on disk: whatever makes them quick, they stay what their encoding says."""

from hashlib import blake2b

from hypothesis import example, given
from hypothesis import strategies as st

from heliograph.events.ids import digest, make_id

PARTS = st.lists(
    st.none() | st.booleans() | st.integers() | st.text(max_size=300) | st.binary(max_size=300), max_size=5
)


def spelled(part: str | int | bytes | None) -> bytes:
    """Type, length in four bytes, the part itself."""
    if part is None:
        tag, raw = b"n", b""
    elif isinstance(part, str):
        tag, raw = b"s", part.encode()
    elif isinstance(part, int):
        tag, raw = b"i", str(int(part)).encode()
    else:
        tag, raw = b"b", part
    return tag + len(raw).to_bytes(4, "big") + raw


@given(PARTS)
@example(["x" * 255, "x" * 256, "é" * 128, 10**254, -(10**255), True])
def test_a_digest_is_that_of_the_spelled_out_tuple(parts: list[str | int | bytes | None]) -> None:
    data = spelled(0) + b"".join(map(spelled, parts))
    assert digest(*parts) == blake2b(data, digest_size=16).digest()


def test_an_id_that_was_given_once_is_given_for_ever() -> None:
    assert make_id("message", "run", "step", 1) == "kngygyjk65kmdy3onbcfgufg6e"
