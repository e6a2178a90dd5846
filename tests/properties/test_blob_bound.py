"""Law: whatever arrives, a blob stays within 256 KB, and nobody who is under way is thrown out for it.

What may stand above it: the condition states, whose size is the plan's choice, and the slack, which is what one instant
may add unasked (:data:`heliograph.decide.bounds.STEP_BYTES` says how much is expected).
"""

import random
from functools import cache

from hypothesis import example, given, settings
from hypothesis import strategies as st

from heliograph.decide import State, compile_plan, encode_state, new_state, step
from heliograph.decide.bounds import MAX_BLOB
from heliograph.decide.effects import Fact
from heliograph.decide.state import size_of
from heliograph.events.event import Event
from heliograph.events.record import Body, EventBody, LedgerChange, LedgerRow, ListChange, MergeInto, Outcome, Record
from tests.decide.driver import DAY, MINUTE, T0, journey, plan_document

SLACK = 16 * 1024
KB = 1024
WAITS = [{"wait": "P300D"}]
PLAN = compile_plan(
    plan_document(
        [
            journey("carts", entry={"event": "A", "key": "properties.k"}, steps=WAITS),
            journey("quick", entry={"event": "B", "key": "properties.k", "reentry": {"after": "P30D"}}),
            journey("never", entry={"event": "C", "key": "properties.k", "reentry": "never"}, steps=[{"exit": True}]),
            journey("until", entry={"event": "A"}, steps=[{"wait_until": {"any": [{"event": "B"}]}}, *WAITS]),
        ],
        {
            "same": {"did": {"event": "A", "same": "properties.k", "at_least": 50, "within": "P30D"}},
            "often": {"did": {"event": "B", "at_least": 1000, "within": "P30D"}},
        },
        templates={"mail": {"last": ["A", "B", "C"]}},
    ),
    1,
)


class Adversary:
    """Says as much as a person can say, in every way there is.  ``taste`` prefers one kind of it."""

    def __init__(self, seed: int, taste: str, own: list[str] | None = None) -> None:
        self.tastes = own or TASTES
        self.chance = random.Random(seed)
        self.taste = taste
        self.count = 0
        self.t = T0

    def words(self, most: int) -> str:
        return self.chance.choice(["x", "é", "\U0001f600"]) * self.chance.randrange(1, most) + str(self.count)

    def event(self, type: str = "track", name: str = "", **more: object) -> Body:
        filler = {"k": self.words(400), "filler": "x" * self.chance.choice([0, 500, 30 * KB])}
        return EventBody(Event(f"e{self.count}", type, name, self.t, user_id="1", properties=filler, **more))

    def body(self) -> Body:
        say = self.chance
        match self.taste if say.random() < 0.6 else say.choice(self.tastes):
            case "runs":
                return self.event(name=say.choice("ABC"))
            case "traits":
                names = [self.words(200) for _ in range(say.randrange(1, 30))]
                return self.event(
                    "identify", "Identified", traits={n: say.choice([None, self.words(900)]) for n in names}
                )
            case "topics":
                consent = {"source": self.words(5000), "textVersion": self.words(5000)}
                said = {self.words(40)[-60:]: say.random() < 0.5 for _ in range(20)}
                return self.event(
                    "identify", "Identified", context={"consent": {**consent, "categoryPreferences": said}}
                )
            case "ledger":
                rows = [LedgerRow("a@b.example", self.words(40), True, self.t, *[self.words(9000)] * 3)]
                return say.choice(
                    [LedgerChange(rows), self.event("identify", "Identified", traits={"email": "a@b.example"})]
                )
            case "lists":
                return ListChange(self.words(300), True, self.t)
            case "outcomes":
                return Outcome(self.words(40), "clicked", self.t, self.words(900), properties={"url": self.words(5000)})
            case "merges":
                return MergeInto(f"a:{self.words(300)}", say.choice(others()))
            case _:
                return self.event(name="A", anonymous_id=self.words(300))

    def record(self) -> Record:
        self.count += 1
        self.t += self.chance.choice([1, MINUTE, DAY // 4])
        return Record("u:1", f"r{self.count}", self.t, 1, self.body())


@cache
def others() -> list[bytes]:
    """Histories of the same person elsewhere."""
    return [encode_state(played(Adversary(seed, "runs", own=MIXED), 60)) for seed in range(3)]


TASTES = ["runs", "traits", "topics", "ledger", "lists", "outcomes", "merges", "parked"]
MIXED = ["runs", "runs", "traits", "topics", "lists", "outcomes"]


def played(adversary: Adversary, records: int) -> State:
    state = new_state("u:1")
    for _ in range(records):
        before = set(state.runs)
        state, effects = step(state, adversary.record(), PLAN)
        ended = {effect.data["run_id"] for effect in effects if isinstance(effect, Fact) and effect.kind == "run_ended"}
        assert before - set(state.runs) <= ended, "a run under way was thrown out"
        assert len(encode_state(state)) <= MAX_BLOB + SLACK + size_of(state.conditions)
    return state


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(TASTES))
@example(397232151, "parked")
def test_no_stream_makes_a_blob_heavier_than_the_bound(seed: int, taste: str) -> None:
    played(Adversary(seed, taste), 250)


def test_somebody_ordinary_is_hardly_ever_weighed_and_loses_nothing() -> None:
    state = new_state("u:1")
    for number in range(1000):
        event = Event(f"e{number}", "track", "A", T0 + number * MINUTE, user_id="1", properties={"k": f"c{number % 9}"})
        state, effects = step(state, Record("u:1", event.event_id, event.occurred_at, 1, EventBody(event)), PLAN)
        assert not [effect for effect in effects if isinstance(effect, Fact) and effect.kind == "cut"]
    assert len(state.runs) == 10


def test_a_full_state_refuses_entries_with_a_reason() -> None:
    adversary, state, refused = Adversary(1, "runs"), new_state("u:1"), set()
    for _ in range(400):
        state, effects = step(state, adversary.record(), PLAN)
        refused |= {
            effect.data["reason"] for effect in effects if isinstance(effect, Fact) and effect.kind == "run_refused"
        }
    assert "state_full" in refused
