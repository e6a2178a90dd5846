"""What a broadcast's row counts, in the very commit of what it counts: exact after any crash, and without a scan.

Laws, whenever nothing is parked behind a link: ``offered`` = entered + held out + all refused; and the sum of
``messages`` is the number of its rows in the ledger, by status.
"""

from typing import Any, Final

from heliograph.decide import HELD_OUT
from heliograph.events.ids import bucket
from heliograph.ports import BroadcastRow, MessageRow
from heliograph.runtime.desk import Desk

MAX_REASONS: Final = 64
"""Different ones that are counted apart; what comes beyond is ``other``.  A template may miss many paths."""
MAX_REASON: Final = 100
"""Characters of one."""
MAX_AGAIN: Final = 1_000
"""Keys of one broadcast that wait to be looked at once more; beyond it they are counted as refused ``changing``."""
COUNTED: Final = frozenset({"run_started", "run_ended", "run_refused"})
"""Facts that count."""
CANCELLED: Final = "broadcast cancelled"
"""The reason of messages that had not left, where nobody gave one."""
SAME_ADDRESS: Final = "same_address"
"""Somebody else with this address gets it."""


def note_fact(row: BroadcastRow, kind: str, data: dict[str, Any]) -> None:
    """A fact about one of its people; ``row`` is one that may be changed."""
    if kind == "run_started":
        _add(row.people, "entered")
        _add(row.people, "active")
    elif kind == "run_ended":
        _add(row.people, "active", -1)
    elif kind == "run_refused" and data["reason"] in HELD_OUT:
        _add(row.people, "held_out")
    elif kind == "run_refused":
        _add(row.refused, data["reason"])


def note_message(row: BroadcastRow, old: MessageRow | None, new: MessageRow) -> None:
    """A message of it was written."""
    if old is not None:
        _count_message(row, old, -1)
    _count_message(row, new, 1)


def note_same_address(row: BroadcastRow) -> None:
    _add(row.skipped, SAME_ADDRESS)


def _count_message(row: BroadcastRow, message: MessageRow, by: int) -> None:
    _add(row.messages, message.status, by)
    if message.status == "skipped":
        _add(row.skipped, message.reason, by)


def _add(counts: dict[str, int], word: str, by: int = 1) -> None:
    word = word[:MAX_REASON]
    if word not in counts and len(counts) >= MAX_REASONS:
        word = "other"
    counts[word] = counts.get(word, 0) + by
    if not counts[word]:
        del counts[word]


def unsent(row: BroadcastRow) -> int:
    """Messages that are decided and not on their way yet, or whose outcome is not known."""
    return row.messages.get("queued", 0) + row.messages.get("sending", 0)


def undecided(row: BroadcastRow) -> int:
    """People who were offered it and of whom nobody knows yet whether they get it: where the brain is far."""
    known = row.people.get("entered", 0) + row.people.get("held_out", 0) + sum(row.refused.values())
    return max(row.offered - known, 0)


def waiting(row: BroadcastRow) -> int:
    """People who entered and wait for their own clock to show its time: nobody else waits without a message."""
    if not row.document.get("local_time"):
        return 0
    return max(row.people.get("active", 0) - unsent(row) - row.messages.get("deferred", 0), 0)


def progress(row: BroadcastRow) -> dict[str, Any]:
    """For the API.  ``total`` is an estimate until the whole audience was offered it."""
    people, refused = row.people, dict(sorted(row.refused.items()))
    return {
        "people": {
            "total": row.offered if row.through else max(row.total, row.offered),
            "offered": row.offered,
            "entered": people.get("entered", 0),
            "held_out": people.get("held_out", 0),
            "waiting": waiting(row),
            "refused": refused,
        },
        "messages": dict(sorted(row.messages.items())),
        "skipped": dict(sorted(row.skipped.items())),
    }


# -- an audience that changes keys while it is walked --


def place(key: str) -> tuple[int, str]:
    """Where a key stands among all (the store's order)."""
    return bucket(key), key


def follow_merge(desk: Desk, source: str, survivor_key: str) -> None:
    """``source`` became somebody else's.  Where a broadcast walks along the members of a segment or list and had not
    come to ``source`` but had passed the survivor, it would miss the two of them: it comes by once more."""
    for broadcast_id, broadcast in desk.plan.broadcasts.items():
        row = desk.broadcast(broadcast_id) if broadcast.members else None
        if row is None or row.after is None or row.status not in ("running", "paused"):
            continue
        ahead = not row.through and place(source) > place(row.after)
        if ahead and place(survivor_key) <= place(row.after) and len(row.again) < MAX_AGAIN:
            changed = desk.counting(broadcast_id)
            if changed is not None and survivor_key not in changed.again:
                changed.again.append(survivor_key)
