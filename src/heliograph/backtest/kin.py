"""Which keys were, or became, one person: they are decided together, in one order; everybody else is independent.

Told by the states (a survivor's links, a stub's way forward) and by the log (who asked whom).  An id that was unlinked
again before the log begins is not among them: its former person is decided without it.
"""

from collections.abc import Iterable
from typing import Final

import msgspec

from heliograph.adapters.rocksdb import RocksView
from heliograph.events.record import MAX_HOPS, Kind, Link, MergeInto

_LINKS: Final = frozenset({Kind.LINK, Kind.MERGE_INTO})


class _Head(msgspec.Struct, array_like=True):
    """The first fields of :class:`heliograph.decide.State`."""

    key: str
    created_at: int
    last_t: int
    plan_version: int
    forward: str = ""
    links: list[str] = []


_head = msgspec.msgpack.Decoder(_Head)


class Kin:
    """``of``: key -> all keys that have to do with each other, where there is more than one: several people, if they
    shared a device.  ``stubs``: key -> who it was merged into, as of today."""

    def __init__(self, families: Iterable[Iterable[str]], stubs: dict[str, str]) -> None:
        self.stubs = stubs
        self.of: dict[str, tuple[str, ...]] = {}
        for family in families:
            keys = tuple(sorted(family))  # by name: by bucket, the first half of the buckets would get nearly everybody
            self.of.update(dict.fromkeys(keys, keys))

    def first(self, key: str) -> str:
        """The key under whose bucket a person is dealt with."""
        family = self.of.get(key)
        return key if family is None else family[0]

    def survivor(self, key: str) -> str:
        for _ in range(MAX_HOPS):
            if key not in self.stubs:
                break
            key = self.stubs[key]
        return key

    def families(self) -> list[tuple[str, ...]]:
        return list(dict.fromkeys(self.of.values()))


def find_kin(view: RocksView) -> Kin:
    parent: dict[str, str] = {}

    def root(key: str) -> str:
        while (above := parent.get(key, key)) != key:
            parent[key] = parent.get(above, above)
            key = above
        return key

    def join(one: str, other: str) -> None:
        if one and other and (low := root(one)) != (high := root(other)):
            parent[high] = low
            parent.setdefault(low, low)

    stubs: dict[str, str] = {}
    for key, blob in view.blobs():
        head = _head.decode(memoryview(blob)[1:])
        if head.forward:
            stubs[key] = head.forward
        for linked in (head.forward, *head.links):
            join(key, linked)
    for logged in view.logged():
        if logged.head.kind in _LINKS:
            join(logged.head.key, _other(logged.record()[0].body))
    families: dict[str, list[str]] = {}
    for key in parent:
        families.setdefault(root(key), []).append(key)
    return Kin(families.values(), stubs)


def _other(body: object) -> str:
    match body:
        case Link():
            return body.to
        case MergeInto():
            return body.source
    return ""
