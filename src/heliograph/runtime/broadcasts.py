"""The life of a broadcast, from the outside: made, started, paused, resumed, cancelled, looked at.

A broadcast that is not a draft stands in the plan document under the key ``broadcasts``, so making and cancelling one
is a publish; a cheap one, because nothing else of the plan changes.  It leaves with the next publish when it is over
and nobody is on the way in it.  The loop that walks its audience is :mod:`heliograph.runtime.broadcaster`.
"""

import secrets
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec

from heliograph import decide
from heliograph.decide.broadcasts import LIVE, MOVES, Broadcast, broadcast_of, journey_of, judge, objection
from heliograph.decide.parsing import Context
from heliograph.ports import BroadcastRefused, BroadcastRow, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.counting import CANCELLED
from heliograph.runtime.desk import Desk, Published
from heliograph.runtime.offering import audience_of, change, goes_on, open_messages
from heliograph.runtime.publishing import Prepared, hint, prepare_broadcasts
from heliograph.runtime.work import Call, SwitchPlan

MAX_LIVE: Final = 100
"""Broadcasts that are scheduled, running or paused: each is compiled into the plan."""
MAX_DOCUMENT: Final = 64 * 1024
"""Bytes of one, as JSON: a condition of some hundred parts."""
LISTED: Final = 1_000
BY: Final = "broadcast"
"""Who holds the mail of a broadcast that is paused or cancelled."""

Document = dict[str, Any]


class Changing(Call[BroadcastRow]):
    """Change a row, and with it the plan; or nothing, with :class:`BroadcastRefused`.  It goes before pieces of the
    walk that wait already: a pause bites at the next few people."""

    urgent = True

    def __init__(self, change: Callable[[Chunk], BroadcastRow | str], switch: SwitchPlan | None = None) -> None:
        super().__init__()
        self._change, self._switch = change, switch
        self.refusal = ""

    def decide(self, chunk: Chunk) -> None:
        found = self._change(chunk)
        self.refusal = found if isinstance(found, str) else ""
        if isinstance(found, str):
            return
        self.result = found
        if self._switch is not None:
            self._switch.decide(chunk)

    def settled(self) -> None:
        if self.refusal:
            self.failed(BroadcastRefused([("", self.refusal)]))
        else:
            super().settled()


# -- making one --


def accepted(document: Any, desk: Desk, now: int) -> Broadcast:
    """The broadcast that this would be under the plan in force; :class:`BroadcastRefused` with all that is wrong."""
    plan, context = desk.plan, desk.plan.reading()
    found = judge(document, context, plan.templates, now)
    problems = problems_of(context.problems)
    if not problems and found is not None:
        problems += _unfounded(document, desk.store, found, context)
    if problems or found is None:
        raise BroadcastRefused(problems)
    return found


def _unfounded(document: Document, store: Store, found: Broadcast, context: Context) -> list[tuple[str, str]]:
    """What only the store knows."""
    if len(msgspec.json.encode(document)) > MAX_DOCUMENT:
        return [("", f"a broadcast is at most {MAX_DOCUMENT // 1024} KB; put a long condition into a segment")]
    earlier = broadcast_of(found.members)
    if earlier and store.broadcast(earlier) is None:
        return [("audience.broadcast", f"there is no broadcast {earlier!r}")]
    if found.members in context.lists and not earlier and not store.member_count(found.members):
        return [("audience.list", f"nobody is on a list {found.members!r}: import it first")]
    return []


def known(document: Any, store: Store) -> BroadcastRow | None:
    """The broadcast that this one is already, by the id that its caller gave; :class:`BroadcastRefused` when the id is
    that of another one."""
    given = document.get("id") if isinstance(document, dict) else None
    row = store.broadcast(given) if isinstance(given, str) else None
    if row is not None and row.document != document:
        raise BroadcastRefused([("id", f"there is another broadcast {given!r} ({row.status}): take another id")])
    return row


def new_row(document: Document, found: Broadcast, store: Store, now: int, *, draft: bool) -> BroadcastRow:
    broadcast_id = document.get("id") or secrets.token_hex(6)
    row = BroadcastRow(
        broadcast_id=broadcast_id, name=found.name, document=document, status="draft", created_at=now, changed_at=now
    )
    return row if draft else started(row, found, store, now)


def started(row: BroadcastRow, found: Broadcast, store: Store, now: int) -> BroadcastRow:
    """It waits for its time, or begins now."""
    due = found.starts_at <= now
    return msgspec.structs.replace(
        row,
        status="running" if due else "scheduled",
        changed_at=now,
        starts_at=max(found.starts_at, now),
        started_at=now if due else 0,
        total=audience_of(found, store),
    )


def with_one(row: BroadcastRow, desk: Desk) -> Document:
    """The broadcasts of the plan, and this one."""
    documents = live_documents(desk)
    if len(documents) >= MAX_LIVE:
        said = f"{MAX_LIVE} broadcasts are scheduled, running or paused: wait for some, or cancel them"
        raise BroadcastRefused([("", said)])
    return {**documents, row.broadcast_id: row.document}


def adding(row: BroadcastRow, switch: SwitchPlan | None = None) -> Changing:
    """The work that keeps a new broadcast or a draft that starts; with the plan that it stands in."""
    return Changing(lambda chunk: _add(chunk, row), switch)


def _add(chunk: Chunk, row: BroadcastRow) -> BroadcastRow | str:
    known = chunk.desk.broadcast(row.broadcast_id)
    if known is not None and known.status != "draft":
        return f"there is a broadcast {row.broadcast_id!r} already"
    chunk.desk.write_broadcast(row)
    return row


def prepared(documents: Document, published: Published, swept: int | None) -> Prepared:
    """The plan with these broadcasts."""
    try:
        return prepare_broadcasts(documents, published, swept)
    except decide.PlanErrors as errors:
        raise BroadcastRefused(problems_of(errors.problems)) from errors


def problems_of(problems: Iterable[decide.Problem]) -> list[tuple[str, str]]:
    return [(".".join(map(str, one.path)), one.message + hint(one.hint)) for one in problems]


# -- what is in the plan --


def live(desk: Desk) -> set[str]:
    """The broadcasts of the plan that are not over, or that somebody is on the way in."""
    rows = {name: desk.broadcast(name) for name in desk.plan.broadcasts}
    return {name for name, row in rows.items() if row is not None and _stays(row)}


def _stays(row: BroadcastRow) -> bool:
    return row.status in LIVE or (row.status == "finished" and row.people.get("active", 0) > 0)


def live_documents(desk: Desk) -> Document:
    there, documents = live(desk), desk.plan.document.get("broadcasts", {})
    return {name: one for name, one in documents.items() if name in there}


# -- moving one --


def without(broadcast_id: str, verb: str, desk: Desk) -> Document | None:
    """The broadcasts of the plan behind this move, None when it changes none.  LookupError, :class:`BroadcastRefused`
    where the move means nothing."""
    row = desk.broadcast(broadcast_id)
    if row is None:
        raise LookupError(f"no broadcast has the id {broadcast_id!r}")
    if verb not in MOVES:
        raise BroadcastRefused([("", f"a broadcast can be started, paused, resumed and cancelled, not {verb!r}")])
    if said := objection(row.status, verb):
        raise BroadcastRefused([("", said)])
    if verb != "cancel" or broadcast_id not in desk.plan.broadcasts:
        return None
    return {name: one for name, one in live_documents(desk).items() if name != broadcast_id}


def moving(broadcast_id: str, verb: str, reason: str, switch: SwitchPlan | None = None) -> Changing:
    """The work that pauses, resumes or cancels."""
    return Changing(lambda chunk: _move(chunk, broadcast_id, verb, reason), switch)


def _move(chunk: Chunk, broadcast_id: str, verb: str, reason: str) -> BroadcastRow | str:
    """Decided again at its turn: the loop may have ended it meanwhile."""
    row = chunk.desk.broadcast(broadcast_id)
    if row is None or (said := objection(row.status, verb)):
        return said if row is not None else f"no broadcast has the id {broadcast_id!r}"
    return _MOVE[verb](chunk, row, reason)


def _pause(chunk: Chunk, row: BroadcastRow, reason: str) -> BroadcastRow:
    chunk.desk.holds.put(chunk, journey_of(row.broadcast_id), reason, BY)
    return change(chunk, row.broadcast_id, "paused", reason)


def _resume(chunk: Chunk, row: BroadcastRow, _reason: str) -> BroadcastRow:
    chunk.desk.holds.lift(chunk, journey_of(row.broadcast_id))
    return goes_on(chunk, row)


def _cancel(chunk: Chunk, row: BroadcastRow, reason: str) -> BroadcastRow:
    """From here on nothing of it leaves; what is queued is taken back behind this, in portions."""
    if open_messages(row):
        chunk.desk.holds.put(chunk, journey_of(row.broadcast_id), reason or CANCELLED, BY)
    else:
        chunk.desk.holds.lift(chunk, journey_of(row.broadcast_id))
    return change(chunk, row.broadcast_id, "cancelled", reason, ended_at=chunk.now())


_MOVE: Final[dict[str, Callable[[Chunk, BroadcastRow, str], BroadcastRow]]] = {
    "pause": _pause,
    "resume": _resume,
    "cancel": _cancel,
}


# -- looking at them --


def newest(store: Store) -> list[BroadcastRow]:
    return store.broadcasts(LISTED)[0]
