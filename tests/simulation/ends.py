"""What must hold when a round has come to its end and nothing is under way any more."""

from collections import defaultdict
from typing import Any

import msgspec

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide.broadcasts import broadcast_of
from heliograph.ports import UNFINISHED, Commit, MessageRow, Store
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk, Published
from tests.simulation import letters
from tests.simulation.watch import TAKEN, Watch, law
from tests.simulation.world import World

EVERYTHING = 10**7


def check(world: World, *, replay: bool = True) -> None:
    store, watch = world.store, world.watch
    keys = store.keys(limit=EVERYTHING)
    states = {key: decide.decode_state(blob) for key, blob in zip(keys, store.states(keys), strict=True) if blob}
    rows = {row.message_id: row for row in store.messages(limit=EVERYTHING)[0]}
    mail_has_ended(watch, rows, world.end_at)
    wakeups_are_those_of_the_states(store, states)
    members_are_those_of_the_states(store, states)
    runs_add_up(watch, states)
    caps_were_kept(watch, rows, world.crank.plan)
    slots_do_not_leak(states, rows)
    arms_add_up(watch, rows)
    requests_have_ended(store, states)
    letters.check(store, watch.letters, rows, states, law)
    if replay:
        replay_decides_the_same(store)


def mail_has_ended(watch: Watch, rows: dict[str, MessageRow], end_at: int) -> None:
    for row in rows.values():
        law(row.status not in UNFINISHED or row.not_before > end_at, "every message has an end", row)
        if row.status in TAKEN:
            law(watch.times_taken[row.message_id] == 1, "what counts as sent was taken once", row)
    for message_id in watch.times_taken:
        law(rows[message_id].status in {*TAKEN, "unknown", "bounced"}, "what was taken is not denied", rows[message_id])


def wakeups_are_those_of_the_states(store: Store, states: dict[str, decide.State]) -> None:
    wakeups = {key: at for at, key in store.due(10**15, EVERYTHING)}
    wanted = {key: at for key, state in states.items() if (at := decide.deadline(state)) is not None}
    law(wakeups == wanted, "no timer is lost and none is left over", set(wakeups.items()) ^ set(wanted.items()))


def members_are_those_of_the_states(store: Store, states: dict[str, decide.State]) -> None:
    wanted: dict[str, dict[str, int]] = defaultdict(dict)
    for key, state in states.items():
        for name, since in state.members.items():
            wanted[name][key] = since
    for name in wanted:
        law(dict(store.members(name, EVERYTHING)[0]) == wanted[name], "members are who says so", name)


def runs_add_up(watch: Watch, states: dict[str, decide.State]) -> None:
    """Who entered is in, or has left."""
    runs = (run for state in states.values() for run in state.runs.values())
    active = {run.run_id for run in runs if not broadcast_of(run.journey)}
    law(active == set(watch.started) - set(watch.ended), "entrants are active or ended",
        active ^ (set(watch.started) - set(watch.ended)))  # fmt: skip


def caps_were_kept(watch: Watch, rows: dict[str, MessageRow], plan: decide.Plan) -> None:
    """In no window of the cap's length did more messages pass their commit point than it allows."""
    for address, begun in watch.begun.items():
        counted = [at for name, at in begun.items() if at[1] and rows[name].status in {*TAKEN, "unknown"}]
        for cap in plan.policies.caps:
            instants = sorted(at for at, topic in counted if cap.covers(topic))
            for first, at in zip(instants, instants[cap.max :], strict=False):
                law(at - first >= cap.per_ms, "caps are kept", address, cap.text, first, at)


def slots_do_not_leak(states: dict[str, decide.State], rows: dict[str, MessageRow]) -> None:
    for state in states.values():
        for slot in state.slots:
            status = rows[slot.message_id].status
            law(
                status in {*TAKEN, *UNFINISHED, "unknown", "bounced"},
                "a slot is held by a message that counts",
                slot,
                status,
            )


def arms_add_up(watch: Watch, rows: dict[str, MessageRow]) -> None:
    """Whoever came to the split is in one arm, and got what that arm decides unless an exit came first."""
    mailed = {row.run_id for row in rows.values() if row.journey == "arms" and row.template != "arm-end"}
    left = {run for run in watch.arms if watch.ended.get(run) not in {"finished"}}
    law(mailed | left >= set(watch.arms) >= mailed, "arms sum to entrants", mailed ^ set(watch.arms))


def requests_have_ended(store: Store, states: dict[str, decide.State]) -> None:
    """Every request was answered or dropped, and no run waits for one that is gone."""
    law(not list(store.requests()), "every request has an end", list(store.requests()))
    waiting = [run for state in states.values() for run in state.runs.values() if run.awaits]
    law(not waiting, "no run waits for nothing", waiting)


def replay_decides_the_same(store: Store) -> None:
    """The log alone, record by record, into an empty store: order per person is the order of the log."""
    copy = MemoryStore()
    plans = {version: store.plan(version) for version, _ in store.plans()}
    copy.commit(Commit(plan=plans[1]))
    desk = Desk(copy, JsonSchema)
    for position, record in store.log(limit=EVERYTHING):
        if record.plan_version > desk.plan.version:
            row = plans[record.plan_version]
            assert row is not None
            desk.use(Published(decide.compile_plan(msgspec.json.decode(row.document), row.version), JsonSchema))
        chunk = Chunk(desk, ManualClock(record.received_at))
        chunk.replay(record)
        law(desk.position == position, "a replay takes every record", position)
        commit = chunk.finish()
        desk.seal()
        copy.commit(commit)
        desk.settle()
    keys = store.keys(limit=EVERYTHING)
    law(
        keys == copy.keys(limit=EVERYTHING),
        "a replay knows the same people",
        set(keys) ^ set(copy.keys(limit=EVERYTHING)),
    )
    for key, live, replayed in zip(keys, store.states(keys), copy.states(keys), strict=True):
        law(live == replayed, "a replay decides the same", key, *differences(live, replayed))


def differences(live: bytes | None, again: bytes | None) -> list[Any]:
    """The fields in which two states differ."""
    if live is None or again is None:
        return [live, again]
    one, other = decide.decode_state(live), decide.decode_state(again)
    names = [name for name in one.__struct_fields__ if getattr(one, name) != getattr(other, name)]
    return [(name, getattr(one, name), getattr(other, name)) for name in names]
