"""Positions: what a collector gives back so that a reader can wait until it was applied.

A position names the last event of each person in a call.  It says nothing of partitions or offsets, so it stays true
when topics grow or move: *applied* is asked of the store that answers the reads.
"""

import asyncio
import binascii
import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from typing import Final, TypeAlias

import msgspec

from heliograph.ports import Behind, SharedStore, StoreAway

HERE: Final = "0"
"""The position of a call that was decided before it was answered."""
MAX_PEOPLE: Final = 32
"""In one position: with ids of 36 characters some 3.5 KB of an address line, of which proxies take 8."""
PATIENCE_S: Final = 5.0
FIRST_LOOK_S: Final = 0.01
SLOWEST_LOOK_S: Final = 0.2

Place: TypeAlias = tuple[str, str]
"""(key, event id)."""

_DECODER = msgspec.msgpack.Decoder(list[Place])


def position_of(places: Iterable[Place]) -> str | None:
    """Of these events in their order; None when they are of more than :data:`MAX_PEOPLE`."""
    last = dict(places)
    if len(last) > MAX_PEOPLE:
        return None
    return urlsafe_b64encode(msgspec.msgpack.encode(list(last.items()))).rstrip(b"=").decode() if last else HERE


def places_in(position: str) -> list[Place]:
    """The inverse; ValueError for what is no position."""
    if position == HERE:
        return []
    try:
        return _DECODER.decode(urlsafe_b64decode(position.encode() + b"=" * (-len(position) % 4)))
    except (binascii.Error, msgspec.MsgspecError, UnicodeError):
        raise ValueError("after: this is no position; take it from the answer of a collect call") from None


async def reach(store: SharedStore, position: str, patience_s: float = PATIENCE_S) -> None:
    """Wait until everything before this position is applied, at most so long (:class:`Behind`)."""
    places, pause, until = places_in(position), FIRST_LOOK_S, time.monotonic() + patience_s
    while places := await asyncio.to_thread(_missing, store, places):
        if time.monotonic() > until:
            raise Behind(f"not applied after {patience_s:g} s: the decisions are behind, or the log is away; ask again")
        await asyncio.sleep(pause)
        pause = min(pause * 1.5, SLOWEST_LOOK_S)


def _missing(store: SharedStore, places: list[Place]) -> list[Place]:
    try:
        return [place for place in places if not store.has_event(*place)]
    except StoreAway:
        return places
