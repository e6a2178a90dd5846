"""Memberships: which segments this person is in, kept current by leaf, trait, topic and timer, never by scanning."""

from collections.abc import Mapping
from typing import Any, Final

from heliograph.decide import bounds
from heliograph.decide.broadcasts import PREFIX
from heliograph.decide.effects import SetMembership
from heliograph.decide.journeys import schedules
from heliograph.decide.state import MAX_LAST, MAX_LAST_BYTES, MAX_LISTS, ORPHAN_MS, clear_timer, set_timer
from heliograph.decide.turn import Mode, Signal, Turn
from heliograph.events.event import Event
from heliograph.events.ids import digest, make_id
from heliograph.events.record import ListChange


def observe(turn: Turn, event: Event, mark: int) -> None:
    """Show the event to the condition states that it may change."""
    plan, state, t, touched = turn.plan, turn.state, turn.t, turn.touched
    states, members, by_leaf = state.conditions, state.members, plan.segments.by_leaf
    for leaf_id, take in plan.leaves.takers(event):
        old = states.get(leaf_id)
        new = take(old, event, mark)
        if new is old:
            continue
        states[leaf_id] = new
        for segment in by_leaf.get(leaf_id, ()):
            lasting = segment.lasting
            if lasting is None or segment.name not in members or (until := lasting.until(new)) <= t:
                touched[segment.rank] = segment
            elif lasting.within is not None:  # most events only keep somebody in for longer
                set_timer(state, segment.timer, until)


def traits_changed(turn: Turn, name: str, old: Any, new: Any) -> None:
    if name in turn.plan.clocked:
        turn.moved.add(name)
    for leaf in turn.plan.leaves.for_trait(name, old, new):
        turn.touch(turn.plan.segments.by_leaf.get(leaf.id, ()))


def topic_changed(turn: Turn, topic: str) -> None:
    turn.touch(turn.plan.segments.by_topic.get(topic, ()))


def everything_changed(turn: Turn) -> None:
    turn.touch(tuple(turn.plan.segments.by_name.values()))


def baseline(turn: Turn) -> None:
    """The first decision for a key: whatever holds for somebody unknown turns true with it."""
    turn.state.plan_version = turn.state.swept = turn.plan.version
    turn.touch(turn.plan.true_when_empty)
    if turn.plan.scheduled:
        schedules.set_timers(turn)


def update(turn: Turn, mode: Mode, *, silent: bool = False) -> list[str]:
    """Look at what was touched, in dependency order; the names of the segments that turned true.

    ``silent``: the first evaluation after a publish, which enters and reports nothing.
    """
    turned: list[str] = []
    touched, person, t = turn.touched, turn.person, turn.t
    while touched:
        for rank in sorted(touched):
            segment = touched.pop(rank)
            condition, lasting = segment.condition, segment.lasting
            if lasting is None:
                truth = condition.truth(person, t)
                flip = condition.next_flip(person, t) if condition.timed else None
            else:  # both answers in one
                until = lasting.until(person.conditions.get(lasting.id))
                truth = until > t
                flip = until if truth else None
            if condition.timed:
                set_timer(turn.state, segment.timer, flip)
            if truth is not (segment.name in person.members):
                _set(turn, segment.name, truth)
                if not silent and _counts(turn, segment.name):
                    _report(turn, segment.name, truth, mode)
                    turned += [segment.name] if truth else []
                break  # it may have touched segments behind it
    return turned


def _counts(turn: Turn, name: str) -> bool:
    """Whether it is news that this segment turned: not while it is building for this person, nor, when a timer fires
    that was due before the state met the plan, if that plan changed it: this would be its first evaluation."""
    state, fresh, version = turn.state, turn.plan.fresh, turn.plan.version
    if state.swept < fresh.newest and state.swept < fresh.building.get(name, 0):
        return False
    return state.plan_version >= version or fresh.segments.get(name, version) <= state.plan_version


def _set(turn: Turn, name: str, on: bool) -> None:
    if on:
        turn.state.members[name] = turn.t
    else:
        del turn.state.members[name]
    turn.emit(SetMembership(name, on, turn.t))
    turn.touch(turn.plan.segments.dependents.get(name, ()))


def _report(turn: Turn, name: str, on: bool, mode: Mode) -> None:
    turn.fact("segment_entered" if on else "segment_left", segment=name)
    product_event(turn, "Segment Entered" if on else "Segment Left", {"segment": name}, turn.t, mode, name)


def product_event(
    turn: Turn, name: str, properties: dict[str, Any], at: int, mode: Mode, *parts: str | int
) -> Signal | None:
    """Queue one of the product's own events, when anything asks about it.  ``parts`` name it."""
    if name not in turn.plan.heard:
        return None
    event_id = product_id(name, turn.state.key, at, *parts)
    event = Event(event_id, "track", name, at, properties=properties)
    signal = Signal(event, name, int.from_bytes(digest(event_id)[:8], "big"), mode, turn.next_order())
    turn.signals.append(signal)
    return signal


def product_id(name: str, key: str, at: int, *parts: str | int) -> str:
    """The id of a product event.  A mail names itself: its person may have been merged since it was decided."""
    return make_id("product", name, *(() if name.startswith("Email ") else (key,)), at, *parts)


# -- lists --


def change_list(turn: Turn, change: ListChange) -> None:
    """Static lists: the later change wins, leaving wins ties.  A name that a segment or broadcast has is left alone."""
    old = turn.state.lists.get(change.name)
    taken = change.name in turn.plan.segments.by_name or change.name.startswith(PREFIX)
    if taken or (old and (old[0], not old[1]) >= (change.at, not change.on)):
        return
    if old is None and (
        len(turn.state.lists) >= MAX_LISTS or not bounds.room(turn, 2 * len(change.name.encode()) + 24)
    ):
        turn.fact("cut", what="lists", limit=MAX_LISTS)
        return
    turn.state.lists[change.name] = (change.at, change.on)
    if change.on is not (change.name in turn.state.members):
        _set(turn, change.name, change.on)


# -- broadcasts --

MAX_BROADCASTS: Final = 32
"""Of one person, the newest: what follow-ups and conditions ask about.  A weekly letter has a place for half a year;
every further one would be 50 bytes in a blob for good."""


def join_broadcast(turn: Turn, name: str) -> None:
    """This person is one of those who get it."""
    if name not in turn.state.members:
        _set(turn, name, True)
        trim_broadcasts(turn)


def leave_broadcast(turn: Turn, name: str) -> None:
    """It did not go, after all."""
    if name in turn.state.members:
        _set(turn, name, False)


def trim_broadcasts(turn: Turn) -> None:
    held = sorted((since, name) for name, since in turn.state.members.items() if name.startswith(PREFIX))
    for _, name in held[:-MAX_BROADCASTS]:
        _set(turn, name, False)


# -- another plan --


def reconcile(turn: Turn) -> None:
    """The state is of an older plan: memberships and timers as the new one has them, at ``turn.t``, in silence.

    A segment that has not changed since the plan of this state is as it was.
    """
    state, plan = turn.state, turn.plan
    for timer in [timer for timer in state.timers if timer.startswith("c:") and timer not in plan.timers]:
        clear_timer(state, timer)
    for name in [name for name in state.members if name not in plan.segments.by_name]:
        if not state.lists.get(name, (0, False))[1] and not name.startswith(PREFIX):
            _set(turn, name, False)
    for name in state.last.keys() - plan.remembered:
        del state.last[name]
    state.refused.clear()
    keep_orphans(turn)
    changed = plan.fresh.segments
    every, known = plan.segments.by_name.items(), state.plan_version
    turn.touch(tuple(segment for name, segment in every if changed.get(name, plan.version) > known))
    update(turn, Mode.HISTORY, silent=True)
    schedules.set_timers(turn)
    state.plan_version = plan.version


def take_folds(turn: Turn, plan: int, folds: Mapping[str, Any]) -> None:
    """What was folded from this person's history, for this plan, joins what was observed since; in silence, too."""
    states, leaves = turn.state.conditions, turn.plan.leaves.leaves
    for leaf_id, folded in folds.items():
        leaf = leaves.get(leaf_id)
        if leaf is not None and not leaf.sound(folded):
            turn.fact("cut", what="fold", condition=leaf_id)
        elif leaf is not None:
            states[leaf_id] = leaf.merge(states.get(leaf_id), folded)
            turn.touch(turn.plan.segments.by_leaf.get(leaf_id, ()))
    update(turn, Mode.HISTORY, silent=True)
    turn.state.swept = max(turn.state.swept, plan)


def keep_orphans(turn: Turn) -> None:
    """Condition states that the plan does not use, of a journey or broadcast gone, are dropped after a while."""
    state, known = turn.state, turn.plan.leaves.leaves
    unused = [leaf_id for leaf_id in state.conditions if leaf_id not in known]
    since = {leaf_id: state.orphans.get(leaf_id, turn.t) for leaf_id in unused}
    state.orphans = {leaf_id: at for leaf_id, at in since.items() if turn.t - at < ORPHAN_MS}
    for leaf_id in since.keys() - state.orphans.keys():
        del state.conditions[leaf_id]


# -- the latest events --


def remember(turn: Turn, name: str, event: Event) -> None:
    """Keep the latest events of the names that templates show and entries wait for."""
    state = turn.state
    if state.kept < 0:
        state.kept = _weight(state.last)
    kept = state.last.setdefault(name, [])
    data = turn.packed(event)
    state.size += len(data)
    row = (event.occurred_at, event.event_id, data)
    if kept and row[:2] <= kept[-1][:2]:  # late or seen before; nearly every event is the newest of its name
        if row[:2] in (old[:2] for old in kept):
            return
        kept.append(row)
        kept.sort(key=lambda one: one[:2])
    else:
        kept.append(row)
    state.kept += len(data)
    if len(kept) > MAX_LAST:
        state.kept -= len(kept.pop(0)[2])
    if state.kept > MAX_LAST_BYTES:
        trim_last(turn)


def _weight(last: dict[str, list[tuple[int, str, bytes]]]) -> int:
    return sum([len(row[2]) for rows in last.values() for row in rows])  # a generator takes twice as long


def trim_last(turn: Turn) -> None:
    """Within :data:`MAX_LAST_BYTES`: the oldest go, the only one of its name goes last."""
    last = turn.state.last
    size = _weight(last)
    while size > MAX_LAST_BYTES:
        oldest = min((rows for rows in last.values() if rows), key=lambda rows: (len(rows) == 1, rows[0][:2]))
        size -= len(oldest.pop(0)[2])
    turn.state.kept = size
