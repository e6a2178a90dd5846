"""Pressure: how much marketing mail one person gets, and when (contract, section 5; decision 0033).

Every marketing message that is decided under a cap holds a *slot* in the person's state.  Where a slot counts::

    deferred   at its planned instant: the place is kept for it
    queued     at that of its decision, and while it is not sent as if it were sent now: it may leave at any moment
    sent       at the instant of the 250 (or of the broken connection, when nobody knows)

A cap of ``max`` per ``per`` holds when no window ``(y - per, y]`` has more than ``max`` slots, wherever y lies.  So a
message fits at an instant when no window that contains this instant is full already, those in the future included: who
comes later takes nobody's place.  Messages that were sent are exact, whatever retries and outages came in between.

A slot is given back when its message ends unsent: skipped, cancelled, expired, or refused by the receiver.  Then those
who wait move up in the order of their plans (:func:`heliograph.decide.journeys.sending.move_up`).

Everything here asks and changes slots only; :mod:`heliograph.decide.journeys.sending` decides.
"""

from bisect import bisect_right
from collections.abc import Collection
from datetime import tzinfo
from typing import Final

import msgspec

from heliograph.decide import bounds
from heliograph.decide.policies import Cap, Policies
from heliograph.decide.state import Run, Slot, State, set_timer
from heliograph.decide.times import inside, next_inside, zone_or_utc
from heliograph.decide.turn import Person, Turn

MAX_SLOTS: Final = 512
"""Of one person; 16 caps of 32 messages each.  Beyond it a message is skipped ``state_full``: caps are never passed."""
MAX_HOLDERS: Final = 10
"""Named in a fact; enough to see why."""
SLOT_BYTES: Final = 48
"""Beside its topic."""
TIMER: Final = "p:"
"""Due at the earliest planned instant of all the messages that wait."""


class Place(msgspec.Struct, frozen=True):
    """``at``: the first instant at which a message may go.  ``reason``: what is in its way until then, ``""`` for
    nothing.  ``refused``: it is not to wait for that, since ``held_by`` (messages, the latest) have the places."""

    at: int
    reason: str = ""
    refused: bool = False
    held_by: list[str] = []


def place(
    turn: Turn, topic: str, message_id: str, decided_at: int, earliest: int, *, before: Collection[str] = ()
) -> Place:
    """Where a marketing message fits from ``earliest`` on, its own slot left aside and those of the messages that it
    goes ``before``.

    A cap without patience refuses; of several full ones the least patient speaks.
    """
    aside = {message_id, *before}
    lanes = [(cap, _times(turn, cap, aside)) for cap in turn.plan.policies.caps_on(topic)]
    if lanes and not holds_slot(turn.state, message_id) and not _has_room(turn, topic):
        return Place(earliest, "state_full", refused=True)
    start = loud_from(turn, earliest)
    full = sorted((cap for cap, times in lanes if _free_from(cap, times, start) > start), key=lambda cap: cap.defer_ms)
    if not full:
        return Place(start, "quiet_hours" if start > earliest else "")
    until = decided_at + full[0].defer_ms
    at = _first_free(turn, lanes, start, until)
    reason = f"cap: {full[0].text}"
    if at <= until:
        return Place(at, reason)
    return Place(at, reason, True, [one.message_id for one in holders(turn.state, full[0], message_id, start, turn.t)])


def _times(turn: Turn, cap: Cap, aside: Collection[str]) -> list[int]:
    """The instants at which the slots under this cap count, in order."""
    slots = [one for one in turn.state.slots if one.message_id not in aside and cap.covers(one.topic)]
    return sorted(counts_at(slot, turn.t) for slot in slots)


def counts_at(slot: Slot, now: int) -> int:
    return slot.at if slot.sent else max(slot.at, now)


def _free_from(cap: Cap, times: list[int], at: int) -> int:
    """``at`` when one more message fits there; else an instant before which none does, behind which to ask again."""
    ends = [at, *times[bisect_right(times, at) : bisect_right(times, at + cap.per_ms - 1)]]
    for end in ends:
        held = times[bisect_right(times, end - cap.per_ms) : bisect_right(times, end)]
        if len(held) >= cap.max:
            return held[-cap.max] + cap.per_ms
    return at


def _first_free(turn: Turn, lanes: list[tuple[Cap, list[int]]], at: int, until: int) -> int:
    """The first instant from ``at`` on that is free under all caps and not quiet; where it passes ``until`` it is only
    some instant behind that."""
    while at <= until:
        later = loud_from(turn, at)
        for cap, times in lanes:
            later = _free_from(cap, times, later)
        if later == at:
            break
        at = later
    return at


def holders(state: State, cap: Cap, message_id: str, at: int, now: int) -> list[Slot]:
    """The slots that may stand in the way of a message at ``at``, by time; the latest :data:`MAX_HOLDERS`."""
    slots = [one for one in state.slots if one.message_id != message_id and cap.covers(one.topic)]
    near = [one for one in slots if -cap.per_ms < counts_at(one, now) - at < cap.per_ms]
    return sorted(near, key=lambda one: (one.at, one.message_id))[-MAX_HOLDERS:]


# -- quiet hours --


def loud_from(turn: Turn, at: int) -> int:
    """The end of the quiet period that ``at`` lies in, ``at`` itself outside of one."""
    hours = turn.plan.policies.quiet_hours
    if hours is None:
        return at
    try:
        if not inside(at, hours.start, hours.end, None, _zone(turn.person, hours.zone)):
            return at
        return next_inside(at, hours.end, hours.start, None, _zone(turn.person, hours.zone))
    except OverflowError:  # no calendar has this instant
        return at


def quiet_from(turn: Turn, at: int) -> int:
    """When the next quiet period after ``at`` begins, 0 when there is none."""
    return next_quiet(turn.person, at)


def next_quiet(person: Person, at: int) -> int:
    """The first instant from ``at`` on that lies in this person's quiet hours, 0 when there are none."""
    hours = person.plan.policies.quiet_hours
    if hours is None:
        return 0
    try:
        return next_inside(at, hours.start, hours.end, None, _zone(person, hours.zone))
    except OverflowError:
        return 0


def _zone(person: Person, name: str) -> tzinfo:
    names = {"person": person.timezone, "project": person.plan.timezone}
    return zone_or_utc(names.get(name, name))


# -- slots --


def _slot(state: State, message_id: str) -> Slot | None:
    return next((slot for slot in state.slots if slot.message_id == message_id), None)


def holds_slot(state: State, message_id: str) -> bool:
    return _slot(state, message_id) is not None


def take(turn: Turn, topic: str, message_id: str, at: int) -> None:
    """Hold the place at ``at``; nothing where no cap counts."""
    slot = _slot(turn.state, message_id)
    if slot is not None:
        slot.at, slot.topic = at, topic
    elif turn.plan.policies.caps_on(topic):
        turn.state.slots.append(Slot(at, message_id, topic))


def vacate(turn: Turn, message_id: str) -> None:
    """Give up the slot of a message that is not sent."""
    slots = turn.state.slots
    turn.state.slots = [slot for slot in slots if slot.sent or slot.message_id != message_id]
    turn.freed = turn.freed or len(turn.state.slots) < len(slots)


def settle(turn: Turn, message_id: str, kind: str, at: int) -> None:
    """An outcome: what may have reached the person counts at that instant, what has not gives its slot back."""
    slot = _slot(turn.state, message_id)
    if slot is None or slot.sent:
        return
    if kind in SPENT:
        slot.at, slot.sent = at, True
        turn.freed = True
    elif kind in RELEASING:
        vacate(turn, message_id)


SPENT: Final = frozenset({"sent", "unknown"})
RELEASING: Final = frozenset({"skipped", "cancelled", "expired", "bounced"})


def _has_room(turn: Turn, topic: str) -> bool:
    prune(turn.state, turn.plan.policies, turn.t)
    return len(turn.state.slots) < MAX_SLOTS and bounds.room(turn, SLOT_BYTES + len(topic.encode()))


def prune(state: State, policies: Policies, now: int) -> None:
    """Forget sent messages that no window reaches any more."""
    longest = {slot.topic: 0 for slot in state.slots}
    for topic in longest:
        longest[topic] = max((cap.per_ms for cap in policies.caps_on(topic)), default=0)
    state.slots = [slot for slot in state.slots if not slot.sent or slot.at > now - longest[slot.topic]]


def merge_slots(turn: Turn, theirs: list[Slot]) -> None:
    """One slot a message: a sent one wins, then the earlier."""
    found: dict[str, Slot] = {}
    for slot in sorted((*turn.state.slots, *theirs), key=lambda one: (not one.sent, one.at)):
        found.setdefault(slot.message_id, slot)
    slots = sorted(found.values(), key=lambda one: (one.at, one.message_id))
    if len(slots) > MAX_SLOTS:
        turn.fact("cut", what="slots", limit=MAX_SLOTS)
    turn.state.slots = slots[-MAX_SLOTS:]


# -- the timer --


def waiting(state: State) -> list[Run]:
    """The runs whose message is held back."""
    return [run for run in state.runs.values() if run.planned_at]


def wind(state: State) -> None:
    """Set the timer to the earliest plan."""
    set_timer(state, TIMER, min((run.planned_at for run in waiting(state)), default=None))


def leave(turn: Turn, message_id: str) -> None:
    """A message that was held back waits no more."""
    vacate(turn, message_id)
    turn.freed = True
    wind(turn.state)
