"""Two histories of one person become one (design, section 4): every part of the state says how.

Unions (condition states, dedupe, links, remembered events, memberships since the earlier), last writers (traits, zone,
lists, words on topics), and for runs of the same journey and key: the earlier stays, the other ends ``merged``.
"""

from heliograph.decide import bounds, consent, members, people, pressure
from heliograph.decide.effects import ChangeLedger, SetMembership
from heliograph.decide.journeys import runs, schedules
from heliograph.decide.state import (
    MAX_ENDED,
    MAX_ENTRY_KEYS,
    MAX_LAST,
    MAX_LINKS,
    MAX_RUNS,
    Run,
    State,
    origin_of,
    remember_mark,
    set_timer,
)
from heliograph.decide.turn import Turn
from heliograph.events.record import MergeInto


def take_over(turn: Turn, answer: MergeInto) -> bool:
    """Merge what ``answer.source`` gave; False when it was nothing."""
    state = turn.state
    if answer.source == state.key:
        return False
    if answer.source in state.pending:
        state.pending.remove(answer.source)
    other = people.decode_source(answer.state)
    _link(turn, [answer.source, *(other.links if other is not None else ())])
    turn.fact("merged", source=answer.source, moved=other is not None)
    if other is None:
        return False
    _merge(turn, other, answer.state)
    return True


def _link(turn: Turn, keys: list[str]) -> None:
    links = turn.state.links
    for key in keys:
        if key == turn.state.key or key in links:
            continue
        if len(links) >= MAX_LINKS or not bounds.room(turn, len(key.encode())):
            turn.fact("cut", what="links", limit=MAX_LINKS)
            return
        links.append(key)


def _merge(turn: Turn, other: State, blob: bytes) -> None:
    state = turn.state
    if (other.created_at, origin_of(other)) < (state.created_at, origin_of(state)):
        state.origin = origin_of(other)
    state.created_at = min(state.created_at, other.created_at)
    state.last_seen = max(state.last_seen, other.last_seen)
    state.heard_at = max(state.heard_at, other.heard_at)
    state.swept = min(state.swept, other.swept) if state.plan_version else other.swept
    if not state.plan_version:
        state.plan_version = other.plan_version
    _merge_conditions(turn, other)
    _merge_members(turn, other)
    _merge_traits(turn, other)
    _merge_consent(turn, other)
    _merge_events(turn, other)
    _merge_entries(state, other)
    _merge_pressure(turn, other)
    _merge_runs(turn, other)
    if turn.plan.scheduled:
        schedules.set_timers(turn)
    for marks in (other.seen_before, other.seen):
        for at in range(0, len(marks), 8):
            remember_mark(state, marks[at : at + 8], turn.t)
    if state.size + len(blob) > bounds.MAX_BLOB:
        _fit(turn)
    else:
        state.size += len(blob)
    members.everything_changed(turn)


def _merge_conditions(turn: Turn, other: State) -> None:
    states, leaves = turn.state.conditions, turn.plan.leaves.leaves
    for leaf_id, theirs in other.conditions.items():
        leaf = leaves.get(leaf_id)
        ours = states.get(leaf_id)
        states[leaf_id] = leaf.merge(ours, theirs) if leaf is not None and ours is not None else theirs
    turn.state.orphans = {**other.orphans, **turn.state.orphans}


def _merge_members(turn: Turn, other: State) -> None:
    state = turn.state
    for name, theirs in other.lists.items():
        state.lists[name] = max(state.lists.get(name, theirs), theirs, key=lambda one: (one[0], not one[1]))
    for name, since in other.members.items():
        if name in state.lists and not state.lists[name][1]:
            continue
        earlier = min(since, state.members.get(name, since))
        if state.members.get(name) != earlier:
            state.members[name] = earlier
            turn.emit(SetMembership(name, True, earlier))
    for name, (_, on) in state.lists.items():
        if not on and name in state.members and name not in turn.plan.segments.by_name:
            del state.members[name]
            turn.emit(SetMembership(name, False, turn.t))
    members.trim_broadcasts(turn)


def _merge_traits(turn: Turn, other: State) -> None:
    for name, clock in other.clocks.items():
        people.write_trait(turn, name, other.traits.get(name), clock)
    people.write_zone(turn, other.zone)


def _merge_consent(turn: Turn, other: State) -> None:
    """The address follows its trait.  What the other view says about that address holds here too; words that were
    waiting for an address are still waiting, or go to the ledger now."""
    state = turn.state
    address = people.address_of(state.traits.get("email"))
    consent.hold_address(turn, address, ())
    if other.address == address or not other.address:
        for topic, word in other.consent.items():
            if word.beats(state.consent.get(topic)):
                state.consent[topic] = word
    waiting = {topic: word for topic, word in other.waiting.items() if state.consent.get(topic) == word}
    if waiting and address:
        turn.emit(ChangeLedger([consent.row_of(address, topic, word) for topic, word in waiting.items()]))
    elif waiting:
        state.waiting.update(waiting)


def _merge_events(turn: Turn, other: State) -> None:
    last = turn.state.last
    for name, rows in other.last.items():
        union = {row[:2]: row for row in (*last.get(name, ()), *rows)}
        last[name] = [union[place] for place in sorted(union)][-MAX_LAST:]
    members.trim_last(turn)


def _merge_entries(state: State, other: State) -> None:
    for journey, theirs in other.entered.items():
        ours = state.entered.setdefault(journey, {})
        for key, at in theirs.items():
            ours[key] = max(at, ours.get(key, at))
        while len(ours) > MAX_ENTRY_KEYS:
            del ours[min(ours, key=lambda one: (ours[one], one))]
    ended = {run.run_id: run for run in (*state.ended, *other.ended)}
    state.ended = sorted(ended.values(), key=lambda run: (run.ended_at, run.run_id))[-MAX_ENDED:]


def _merge_pressure(turn: Turn, other: State) -> None:
    """Messages that were decided before count together from now on; those held back are decided at their own times."""
    pressure.merge_slots(turn, other.slots)
    turn.state.compare_at = max(turn.state.compare_at, other.compare_at)


def _merge_runs(turn: Turn, other: State) -> None:
    state = turn.state
    for run in other.runs.values():
        if state.runs.setdefault(run.run_id, run) is not run:  # a broadcast to an address that both held
            runs.told_ended(turn, run, "merged")
    for timer, due in other.timers.items():
        if timer[2:] in other.runs:
            set_timer(state, timer, due)
    pressure.wind(state)
    stays: dict[tuple[str, str], Run] = {}
    for run in sorted(state.runs.values(), key=lambda one: (one.entered_at, one.run_id)):
        first = stays.setdefault((run.journey, run.entry_key), run)
        if first is not run:
            runs.end(turn, run, "merged", {"run_id": first.run_id})
    for run in sorted(state.runs.values(), key=lambda one: (one.entered_at, one.run_id))[MAX_RUNS:]:
        _cut(turn, run)


def _cut(turn: Turn, run: Run) -> None:
    turn.fact("cut", what="runs", limit=MAX_RUNS)
    runs.end(turn, run, "merged")


def _fit(turn: Turn) -> None:
    """Two histories may be more than one blob holds even without what is finished: the latest runs end."""
    bounds.weigh(turn)
    going = sorted(turn.state.runs.values(), key=lambda one: (one.entered_at, one.run_id))
    while turn.state.size > bounds.MAX_BLOB and going:
        _cut(turn, going.pop())
        bounds.weigh(turn)
