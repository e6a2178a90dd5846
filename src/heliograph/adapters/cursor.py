"""Opaque, URL-safe cursors: the place behind the last row of a page, as a tuple of text and numbers."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence

import msgspec


def encode_cursor(*place: str | int) -> str:
    return urlsafe_b64encode(msgspec.msgpack.encode(place)).rstrip(b"=").decode()


def decode_cursor(text: str, shape: Sequence[type]) -> tuple[str | int, ...]:
    """The inverse of :func:`encode_cursor`; ValueError for anything that it did not make for this shape."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
        place = msgspec.msgpack.decode(raw, type=tuple[str | int, ...])
    except (ValueError, msgspec.MsgspecError) as error:
        raise ValueError("not a cursor of this list") from error
    fits = [type(part) for part in place] == list(shape) and all(map(_is_in_range, place))
    if not fits or encode_cursor(*place) != text:
        raise ValueError("not a cursor of this list")
    return place


def _is_in_range(part: str | int) -> bool:
    return isinstance(part, str) or -(1 << 63) <= part < 1 << 63
