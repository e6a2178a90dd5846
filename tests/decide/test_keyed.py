"""Laws of the keyed function: the same records say the same as ``step`` does at home, however often they come."""

import random
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph import decide
from heliograph.decide import keyed
from heliograph.decide.decided import Decided, decode_decided, next_number
from heliograph.decide.effects import Fact, Hop
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Outcome, Record, Wake, decode_record, encode_record
from tests.replays import histories

NAMES = ("broadcasts", "exact", "features", "shop")
T0 = 1_772_323_200_000


class World:
    """A recorded history, and what ``step`` says of each of its records and keys at home."""

    def __init__(self, name: str) -> None:
        history = histories.load(histories.FOLDER / f"{name}.bin")
        self.log = history.log
        documents = {version: msgspec.json.decode(document) for version, document in history.plans}
        self.known = {version: decide.compile_plan(one, version) for version, one in documents.items()}
        self.effects: list[list[Any]] = []
        self.states: dict[str, decide.State] = {}
        numbers: dict[str, int] = {}
        for data in self.log:
            record = decode_record(data)
            state = self.states.pop(record.key, None) or decide.new_state(record.key)
            plan = self.known[max(record.plan_version, state.plan_version)]
            state, effects = decide.step(state, record, plan)
            state.number = numbers[record.key] = next_number(numbers.get(record.key, 0), record.received_at)
            if not decide.is_blank(state):
                self.states[record.key] = state
            self.effects.append(effects)

    def plans(self, version: int) -> decide.Plan | None:
        return self.known.get(version)


class Runtime:
    """What a runtime does around the function: a blob a key, and nothing else that lasts."""

    def __init__(self, plans: keyed.Plans, blobs: dict[str, bytes] | None = None) -> None:
        self.plans, self.blobs = plans, dict(blobs or {})
        self.said: list[Decided] = []
        self.hops: list[Record] = []

    def take(self, data: bytes | None, key: str = "") -> None:
        key = key or decode_record(data or b"").key
        held = keyed.load(key, self.blobs.get(key))
        said = keyed.take(held, data, self.plans)
        if (blob := keyed.dump(held)) is None:
            self.blobs.pop(key, None)
        else:
            self.blobs[key] = blob
        self.said += [decode_decided(one) for one in said.decided]
        self.hops += [decode_record(data) for _, data in said.hops]

    def states(self) -> dict[str, decide.State]:
        held = {key: keyed.load(key, blob) for key, blob in self.blobs.items()}
        return {key: one.state for key, one in held.items() if one.blob}


WORLDS: dict[str, World] = {}


def world(name: str) -> World:
    if name not in WORLDS:
        WORLDS[name] = World(name)
    return WORLDS[name]


@pytest.fixture(params=NAMES)
def home(request: pytest.FixtureRequest) -> World:
    return world(request.param)


def told(effects: Sequence[Any]) -> list[Any]:
    return [effect for effect in effects if not isinstance(effect, Hop)]


def test_the_same_log_says_what_step_says(home: World) -> None:
    runtime = Runtime(home.plans)
    for data in home.log:
        runtime.take(data)
    assert [one.effects for one in runtime.said] == [told(effects) for effects in home.effects]
    assert runtime.hops == [one.record for effects in home.effects for one in effects if isinstance(one, Hop)]
    assert runtime.states() == home.states


def test_every_decision_carries_what_lasts_of_its_key(home: World) -> None:
    last: dict[str, Decided] = {}
    runtime = Runtime(home.plans)
    for data in home.log:
        runtime.take(data)
    for one in runtime.said:
        before = last.get(one.record.key)
        assert before is None or one.number > before.number
        last[one.record.key] = one
    assert {key: decide.decode_state(one.state) for key, one in last.items() if one.state} == home.states
    assert all(one.deadline == decide.deadline(decide.decode_state(one.state)) for one in last.values() if one.state)


def derived(data: bytes) -> bool:
    body = decode_record(data).body
    return not isinstance(body, EventBody | Wake) or (isinstance(body, EventBody) and bool(body.hops or body.depth))


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_derived_records_that_come_again_say_nothing(name: str, seed: int) -> None:
    home, chance = world(name), random.Random(seed)
    runtime = Runtime(home.plans)
    for data in repeated(home.log, chance):
        runtime.take(data)
    assert [one.effects for one in runtime.said] == [told(effects) for effects in home.effects]
    assert runtime.states() == home.states


def repeated(log: Sequence[bytes], chance: random.Random) -> Iterator[bytes]:
    """As after crashes of those who append: some derived records come again, a little later."""
    late: list[bytes] = []
    for data in log:
        yield data
        if derived(data) and chance.random() < 0.3:
            late.append(data)
        if late and chance.random() < 0.2:
            yield from late
            late.clear()


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32))
@settings(max_examples=12, deadline=None)
def test_deciding_again_from_a_checkpoint_says_the_same(name: str, seed: int) -> None:
    home, chance = world(name), random.Random(seed)
    runtime = Runtime(home.plans)
    at = sorted(chance.sample(range(len(home.log)), 2))
    for data in home.log[: at[0]]:
        runtime.take(data)
    checkpoint = dict(runtime.blobs)
    first, second = Runtime(home.plans, checkpoint), Runtime(home.plans, checkpoint)
    for data in home.log[at[0] : at[1]]:
        first.take(data)
    for data in home.log[at[0] :]:
        second.take(data)
    assert second.said[: len(first.said)] == first.said
    assert second.hops[: len(first.hops)] == first.hops
    assert second.states() == home.states


@given(name=st.sampled_from(NAMES), seed=st.integers(0, 2**32))
@settings(max_examples=8, deadline=None)
def test_it_does_not_matter_when_a_plan_arrives(name: str, seed: int) -> None:
    home, chance = world(name), random.Random(seed)
    known: dict[int, decide.Plan] = {}
    coming = sorted(home.known)
    runtime = Runtime(known.get)
    for data in home.log:
        if coming and chance.random() < 0.01:
            version = coming.pop(0)
            known[version] = home.known[version]
        runtime.take(data)
    known.update(home.known)
    for key in sorted(runtime.blobs):
        runtime.take(None, key)
    assert by_key(runtime.said) == by_key_at_home(home)
    assert runtime.states() == home.states


def by_key(said: Sequence[Decided]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for one in said:
        found.setdefault(one.record.key, []).append((one.record.id, one.effects))
    return found


def by_key_at_home(home: World) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for data, effects in zip(home.log, home.effects, strict=True):
        record = decode_record(data)
        found.setdefault(record.key, []).append((record.id, told(effects)))
    return found


def test_a_wake_up_fires_what_is_due_at_its_own_instant() -> None:
    """And when it is appended once more, because the first one was thought lost, it changes nothing."""
    home = world("shop")
    runtime = Runtime(home.plans)
    sleepers: dict[str, int] = {}
    for data in home.log[:900]:
        runtime.take(data)
    for key, blob in runtime.blobs.items():
        if (due := keyed.due(keyed.load(key, blob))) is not None:
            sleepers[key] = due
    assert sleepers
    for key, due in sleepers.items():
        _, data = keyed.wake(keyed.load(key, runtime.blobs[key]), 1)
        record = decode_record(data)
        assert (record.received_at, type(record.body)) == (due, Wake)
        runtime.take(data)
        after = keyed.due(keyed.load(key, runtime.blobs[key]))
        assert after is None or after > due
        before, said = runtime.states()[key], len(runtime.said)
        runtime.take(data)
        assert runtime.said[said:][0].effects == []
        assert msgspec.structs.replace(runtime.states()[key], number=before.number) == before


def test_facts_are_lines_with_an_id_of_their_own() -> None:
    home = world("shop")
    lines: list[dict[str, Any]] = []
    facts = 0
    for data in home.log[:300]:
        held = keyed.load(decode_record(data).key, None)
        said = keyed.take(held, data, home.plans)
        lines += [msgspec.json.decode(line) for line in said.facts]
        facts += sum(isinstance(one, Fact) for told in said.decided for one in decode_decided(told).effects)
    assert facts == len(lines) > 0
    assert len({line["id"] for line in lines}) == len(lines)
    assert all(set(line) == {"id", "at", "kind", "profile_id", "data"} for line in lines)


def test_outcomes_say_what_became_of_each_message(home: World) -> None:
    blobs: dict[str, bytes] = {}
    lines, wanted = [], []
    for data, effects in zip(home.log, home.effects, strict=True):
        key = decode_record(data).key
        held = keyed.load(key, blobs.get(key))
        lines += map(msgspec.json.decode, keyed.take(held, data, home.plans).outcomes)
        blobs[key] = keyed.dump(held)
        facts = [effect for effect in effects if isinstance(effect, Fact) and effect.data.get("message_id")]
        wanted += [
            (fact.data["message_id"], fact.data.get("kind", "skipped"), fact.at)
            for fact in facts
            if fact.kind in ("message_outcome", "message_skipped")
        ]
    assert [(line["message_id"], line["kind"], line["at"]) for line in lines] == wanted != []
    fields = {"id", "at", "kind", "profile_id", "message_id", "journey", "run_id", "step_id", "template", "reason"}
    assert all(fields <= line.keys() and isinstance(line["machine"], bool) for line in lines)


def test_a_record_that_cannot_be_decided_stops_nobody(home: World, monkeypatch: pytest.MonkeyPatch) -> None:
    log = home.log[:300]
    spoilt = {decode_record(data).id for data in log[100:110]}
    others = {decode_record(data).key for data in log} - {decode_record(data).key for data in log[100:110]}
    real = decide.step

    def step(state: decide.State, record: Record, plan: decide.Plan) -> Any:
        found = real(state, record, plan)  # consumes the state
        if record.id in spoilt:
            raise KeyError("a bug")
        return found

    monkeypatch.setattr(keyed, "step", step)
    runtime = Runtime(home.plans)
    before: dict[str, Any] = {}
    for data in log:
        record, told = decode_record(data), len(runtime.said)
        runtime.take(data)
        if record.id in spoilt and len(runtime.said) > told:
            (one,) = runtime.said[told:]
            assert [effect.kind for effect in one.effects if isinstance(effect, Fact)] == ["undecidable"]
            last = before.get(record.key)
            assert one.deadline == (None if last is None else last.deadline)
        before |= {one.record.key: one for one in runtime.said[told:]}
    assert {key: told for key, told in by_key(runtime.said).items() if key in others} == {
        key: told for key, told in by_key(whole(home, log).said).items() if key in others
    }


def whole(home: World, log: Sequence[bytes]) -> Runtime:
    runtime = Runtime(home.plans)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(keyed, "step", decide.step)
        for data in log:
            runtime.take(data)
    return runtime


def test_what_waits_for_a_plan_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyed, "MAX_WAITING", 3)
    runtime = Runtime(lambda _: None)
    event = Event("e", "track", "Seen", T0, user_id="p")
    with pytest.raises(keyed.PlanMissing, match="plan 7"):
        for number in range(4):
            runtime.take(encode_record(Record("u:p", f"e{number}", T0, 7, EventBody(event))))
    assert runtime.said == []


def test_what_is_remembered_of_repeats_is_bounded() -> None:
    home = world("shop")
    held = keyed.load("u:p", None)
    for number in range(keyed.MAX_HEARD * 3):
        outcome = Outcome("m", "opened", T0, machine=True)
        keyed.take(held, encode_record(Record("u:p", f"o{number}", T0, 1, outcome)), home.plans)
    assert len(held.heard) + len(held.heard_before) <= 2 * 8 * keyed.MAX_HEARD


def test_a_blob_of_a_later_version_stops_the_process() -> None:
    with pytest.raises(decide.StateTooNew, match="version 9"):
        keyed.load("u:p", b"\x09")
