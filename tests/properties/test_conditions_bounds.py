"""What holds when more happens than is kept: the state is still a function of the set of events, says from when it is
exact, is right from there on, and estimates well before."""

import random
from fractions import Fraction
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import amounts, measures, samples
from heliograph.decide.conditions.amounts import decimal_text, micros
from heliograph.decide.conditions.did_distinct import KEPT, MAX_DISTINCT
from heliograph.decide.conditions.sequence import MAX_SAMPLES
from heliograph.events.event import Event
from tests.decide.people import Person, condition, observe
from tests.properties import oracle
from tests.properties.oracle import Somebody

Row = tuple[int, int, int]
rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 2**32 - 1), st.integers(-50, 50)), max_size=16)
KB = 1024


def after(added: list[Row]) -> Any:
    state = None
    for at, mark, amount in added:
        new = samples.add(state, at, mark, amount)
        assert new is state or new != state, "the same state is the same object"
        state = new
    return state


def merged(a: Any, b: Any) -> Any:
    return (b if a is None else a) if a is None or b is None else samples.merge(a, b)


@settings(max_examples=300, deadline=None)
@given(rows, st.data())
def test_beyond_the_bounds_states_are_still_functions_of_the_set(added: list[Row], data: st.DataObject) -> None:
    with patch.multiple(samples, MAX_ROWS=5, MAX_SAMPLE=3):
        expected = after(added)
        assert after(data.draw(st.permutations(added + added[:4]))) == expected
        seen_by = [data.draw(st.integers(1, 7)) for _ in added]
        a, b, c = (after([row for row, who in zip(added, seen_by, strict=True) if who & part]) for part in (1, 2, 4))
        assert merged(merged(a, b), c) == merged(a, merged(b, c)) == expected
        assert merged(a, b) == merged(b, a)
        assert merged(a, a) == a
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(expected)) == expected


kinds = st.sampled_from(["did_sum", "did_avg", "did_min", "did_max"])


@settings(max_examples=300, deadline=None)
@given(kinds, st.lists(st.tuples(st.integers(0, 30), st.integers(-5, 5)), max_size=16), st.integers(1, 30))
def test_what_is_said_to_be_exact_is(measure: str, happened: list[tuple[int, int]], within: int) -> None:
    """At every instant, whatever was cut; and an inexact answer still turns only where it said it would."""
    node = {
        measure: {"event": "A", "property": "properties.v", "gte": 3, "within": f"PT{within / 1000:.3f}S"},
    }
    leaf = condition(node).leaves[0]
    history = [
        {"id": f"e{number}", "name": "A", "at": at, "properties": {"v": v}, "traits": {}, "context": {}}
        for number, (at, v) in enumerate(happened)
    ]
    with patch.multiple(samples, MAX_ROWS=5, MAX_SAMPLE=3):
        events = [Event(e["id"], "track", "A", e["at"], properties=e["properties"]) for e in history]
        person = observe(Person(), leaf, *events)
        last = max((at for at, _ in happened), default=0)
        turns = last - 1
        for t in range(last, last + within + 32):
            if t > turns:
                now, edge = leaf.truth(person, t), leaf.next_flip(person, t)
                turns = 1 << 62 if edge is None else edge - 1
            assert leaf.truth(person, t) is now
            if leaf.exact_since(person, t) is None:
                assert leaf.truth(person, t) is oracle.truth(node, Somebody(history), t)
        assert len(happened) > 7 or leaf.exact_since(person, last) is None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_estimates_of_twenty_thousand_amounts_are_within_four_standard_errors(seed: int) -> None:
    chance = random.Random(seed)
    leaf = condition({"did_sum": {"event": "A", "property": "properties.v", "gte": 1}}).leaves[0]
    average = condition({"did_avg": {"event": "A", "property": "properties.v", "gte": 1}}).leaves[0]
    spent = [round(chance.expovariate(1 / 40), 2) for _ in range(20_000)]
    state = after([(at, chance.getrandbits(32), micros(amount) or 0) for at, amount in enumerate(spent)])
    person = Person(conditions={leaf.id: state})
    total, unit = leaf.value(state, 0)
    assert abs(total / unit / 1e6 / sum(spent) - 1) < 4 * (2 / samples.MAX_SAMPLE) ** 0.5
    total, unit = average.value(state, 0)
    assert abs(total / unit / 1e6 / (sum(spent) / len(spent)) - 1) < 4 * (1 / samples.MAX_SAMPLE) ** 0.5
    explained = leaf.explain(person, 20_000)
    assert explained.inexact and explained.exact_since == 18_000
    assert explained.seen.startswith("about ") and "inexact" in explained.seen
    least = condition({"did_min": {"event": "A", "property": "properties.v", "lte": 1}}).leaves[0]
    assert least.explain(person, 20_000).seen.startswith(decimal_text(micros(min(spent)) or 0) + " from")
    assert not least.explain(person, 20_000).inexact


def test_a_full_state_weighs_what_the_bounds_promise() -> None:
    chance = random.Random(1)
    state = after([(10**12 + at, chance.getrandbits(32), at) for at in range(5000)])
    assert len(msgspec.msgpack.encode(state)) < 50 * KB
    node = {"did_distinct": {"event": "A", "property": "properties.v", "gte": MAX_DISTINCT}}
    distinct = condition(node).leaves[0]
    person = observe(Person(), distinct, *(Event(f"e{n}", "track", "A", n, properties={"v": n}) for n in range(2500)))
    assert len(msgspec.msgpack.encode(person.conditions)) < 33 * KB
    assert distinct.truth(person, 2500) and distinct.seen(person, 2500).startswith(f"{KEPT[-1]} or more")
    long = condition({"sequence": {"events": [{"event": "A"}] * 10}}).leaves[0]
    person = observe(Person(), long, *(Event(f"e{n}", "track", "A", 10**12 + n) for n in range(300)))
    assert len(msgspec.msgpack.encode(person.conditions)) < 19 * KB


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("AAAABC"), st.integers(0, 3)), max_size=60), st.integers(1, 40))
def test_in_order_a_sequence_needs_no_past(happened: list[tuple[str, int]], within: int) -> None:
    """Exact however much happens between its events, when they come in order."""
    node = {
        "sequence": {
            "events": [{"event": "A"}, {"event": "B"}, {"event": "C"}],
            "within": f"PT{within / 1000:.3f}S",
        }
    }
    leaf = condition(node).leaves[0]
    person, history, at = Person(), [], 0
    with patch("heliograph.decide.conditions.sequence.MAX_SAMPLES", 2):
        for number, (name, later) in enumerate(happened):
            at += later + 1
            history.append({"id": f"e{number}", "name": name, "at": at, "properties": {}, "traits": {}, "context": {}})
            observe(person, leaf, Event(f"e{number}", "track", name, at))
            assert leaf.truth(person, at) is oracle.truth(node, Somebody(history), at)


def test_a_sequence_takes_late_events_as_far_back_as_it_keeps_them() -> None:
    node = {"sequence": {"events": [{"event": "A"}, {"event": "B"}], "within": "PT0.010S"}}
    leaf = condition(node).leaves[0]
    for more, expected in ((MAX_SAMPLES - 1, True), (MAX_SAMPLES, False)):
        later = [Event(f"l{n}", "track", "A", 1000 + n) for n in range(more)]
        person = observe(Person(), leaf, Event("a", "track", "A", 10), *later, Event("b", "track", "B", 15))
        assert leaf.truth(person, 2000) is expected


debits = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 5)), min_size=1, max_size=24)


@settings(max_examples=300, deadline=None)
@given(debits, st.booleans(), st.integers(-3, 30), st.integers(1, 14))
def test_the_short_way_of_a_sum_is_the_long_one(
    paid: list[tuple[int, int]], debts: bool, least: int, within: int
) -> None:
    asked = {"event": "A", "property": "properties.v", "within": f"PT{within / 1000:.3f}S"}
    short = condition({"did_sum": {**asked, "gte": least}}).leaves[0]
    long = condition({"did_sum": {**asked, "gte": least, "gt": -100}}).leaves[0]
    assert type(short) is not type(long) and short.id == long.id
    events = [Event(f"e{n}", "track", "A", at, properties={"v": v - 2 * debts}) for n, (at, v) in enumerate(paid)]
    person = observe(Person(), short, *events)
    for few in (0, 3, 100):
        with patch.object(measures, "_FEW", few):
            for t in range(12, 28):
                assert short.truth(person, t) is long.truth(person, t)
                assert short.next_flip(person, t) == long.next_flip(person, t)


def naive_turn(parts: list[samples.Part], unit: int, kind: str, asked: list[amounts.Comparison]) -> int | None:
    """Take the rows of one instant after the other away until the answer is another."""
    rows = [(at, amount, part.weight) for part in parts for at, amount in zip(part.ats, part.amounts, strict=True)]

    def answer(left: list[tuple[int, int, int]]) -> bool:
        found = [amount for _, amount, _ in left]
        total, weight = sum(amount * w for _, amount, w in left), sum(w for _, _, w in left)
        value = {
            "sum": Fraction(total, unit),
            "avg": Fraction(total, weight) if left else None,
            "min": min(found, default=None),
            "max": max(found, default=None),
        }[kind]
        if value is None:
            return all(one.word == "is_not" for one in asked)
        return all(amounts.TESTS[one.word](value, one.operand) for one in asked)

    now = answer(rows)
    instants = sorted({at for at, _, _ in rows})
    return next((at for at in instants if answer([row for row in rows if row[0] > at]) is not now), None)


@settings(max_examples=500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 6), st.integers(-4, 4)), max_size=9),
    st.sampled_from(["sum", "avg", "min", "max"]),
    st.dictionaries(st.sampled_from(list(amounts.TESTS)), st.integers(-4, 6), min_size=1, max_size=2),
    st.integers(0, 9),
    st.sampled_from([1, 3]),
)
def test_a_measure_turns_where_taking_rows_away_turns_it(
    rows: list[tuple[int, int]], kind: str, words: dict[str, int], split: int, unit: int
) -> None:
    """Also weighed: rows that stand for two and a third."""
    ordered, split = sorted(rows), min(split, len(rows)) if unit > 1 else 0
    parts = [
        samples.Part([at for at, _ in some], [amount for _, amount in some], weight)
        for some, weight in ((ordered[:split], 7), (ordered[split:], unit))
    ]
    asked = [amounts.Comparison(word, operand, "") for word, operand in words.items()]
    found = measures.MEASURES[kind].turn(parts, unit, measures.range_of(asked))
    assert found == naive_turn(parts, unit, kind, asked)
