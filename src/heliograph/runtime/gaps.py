"""Effects that are gone before any worker carried them out: which, and how work goes on behind them.

::

    offsets in the store --> 1,200 ........ gone ........ 5,200 [ what the topic has ] 9,000
                                                          |                          |
                                         skip: go on here, the rest is lost          again: go on here, where a brain
                                                                                     that was put back says it again

Workers stop at a gap, all of them, until somebody has said what is to become of it; what was said is kept for ever.

*Again* loses nothing: a brain that is started from a savepoint older than the gap decides the same records once more,
in the same words under the same numbers, and workers pass over what they carried out.  But in order: whoever carried
out first what stands behind the gap would pass over the gap's own decisions as old.  So they go on at the end.
"""

import asyncio
from collections.abc import Sequence
from typing import Final

import msgspec
import structlog

from heliograph.ports import Claim, Commit, Fence, SharedStore, Stream
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.plan_watch import Everything

META: Final = "effects_gaps"
"""Meta value: every :class:`Gap` that somebody has dealt with, msgpack."""
LEASE_MS: Final = 10_000
GAP_MEND: Final = "`heliograph gap` tells what is gone and how to go on"

log = structlog.get_logger("heliograph.gaps")


class Gap(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Of one partition: the next offset that workers want, the oldest that is there, the next to be written.

    ``since``: the latest that workers have carried out anything (ms, of whichever partition), 0 for never.  Once
    somebody has dealt with it: ``goes_on`` where, ``again`` or skipped, ``at`` (ms), ``by`` whom.  Fields are only ever
    appended."""

    partition: int
    wanted: int
    oldest: int
    following: int
    since: int = 0
    goes_on: int = -1
    again: bool = False
    at: int = 0
    by: str = ""

    @property
    def gone(self) -> int:
        """Decisions, at most; of a topic that was made anew nobody knows how many there were: 0."""
        return max(self.oldest - self.wanted, 0)

    @property
    def lost(self) -> int:
        """Those of them that nobody says again."""
        return 0 if self.again else self.gone

    @property
    def made_anew(self) -> bool:
        """The topic ends before what workers want."""
        return self.wanted > self.following


class GapMoved(Exception):
    """Somebody else worked on these partitions meanwhile; nothing was changed.  Look again."""


async def find(store: SharedStore, stream: Stream) -> list[Gap]:
    """Those that nobody has dealt with.  What the store or the stream raise."""
    reader = stream.reader([EFFECTS], Everything(), group=None)
    try:
        ends = await reader.ends(EFFECTS)
    finally:
        await reader.close()
    wanted = {claim.partition: max(claim.offset, 0) for claim in await asyncio.to_thread(store.claims)}
    since = await asyncio.to_thread(store.last_received_at)
    gaps = [
        Gap(partition=number, wanted=wanted.get(number, 0), oldest=oldest, following=following, since=since)
        for number, (oldest, following) in sorted(ends.items())
    ]
    return [gap for gap in gaps if not gap.oldest <= gap.wanted <= gap.following]


def dealt_with(store: SharedStore) -> list[Gap]:
    """The others, oldest first."""
    return kept(store.meta(META))


def kept(value: bytes | None) -> list[Gap]:
    """The gaps in that meta value."""
    return [] if value is None else msgspec.msgpack.decode(value, type=list[Gap])


def go_on(store: SharedStore, gaps: Sequence[Gap], *, again: bool, by: str, at: int) -> list[Gap]:
    """Behind these: whoever works on their partitions begins there.  Blocks.  :class:`GapMoved`, and
    :class:`~heliograph.ports.Fenced`, which says the same, when a worker was quicker."""
    owner = f"gap-{by}-{at}"
    claims = {claim.partition: claim for claim in store.claim(owner, [gap.partition for gap in gaps], LEASE_MS)}
    epochs = {number: claim.epoch for number, claim in claims.items()}
    try:
        if any(max(claims[gap.partition].offset, 0) != gap.wanted for gap in gaps):
            raise GapMoved("workers have gone on meanwhile: look again with `heliograph gap`")
        said = [
            msgspec.structs.replace(gap, goes_on=gap.following if again else gap.oldest, again=again, at=at, by=by)
            for gap in gaps
        ]
        store.commit(
            Commit(
                offsets={(EFFECTS, gap.partition): gap.goes_on for gap in said},
                meta={META: msgspec.msgpack.encode([*dealt_with(store), *said])},
                fence=Fence(owner, epochs),
            )
        )
    finally:
        for claim in claims.values():
            _leave(store, claim)
    for gap in said:
        log.error("effects are gone", **msgspec.structs.asdict(gap), gone=gap.gone, lost=gap.lost)
    return said


def _leave(store: SharedStore, ours: Claim) -> None:
    """At once, or when the lease that we claimed over ends: until then its mailers may be writing what the next worker
    would call unknown.  All by the store's clock."""
    if ours.former_ms:
        store.renew(ours.owner, {ours.partition: ours.epoch}, ours.former_ms)
    else:
        store.release(ours.owner, {ours.partition: ours.epoch})
