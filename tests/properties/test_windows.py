"""Windows agree with a brute-force oracle at every millisecond, however the events arrive."""

from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide.conditions import Condition
from heliograph.decide.conditions.windows import Latest, NLatest, NLatestByValue
from heliograph.events.event import Event
from tests.decide.people import Person, condition

Sample = tuple[int, int, str]
"""(occurred_at, hash, value)"""

samples = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 5), st.sampled_from("abc")), max_size=12).map(
    lambda found: list({(at, tag): (at, tag, value) for at, tag, value in found}.values())
)
counts = st.one_of(
    st.just({}),
    st.integers(1, 5).map(lambda n: {"at_least": n}),
    st.integers(0, 4).map(lambda n: {"at_most": n}),
    st.integers(0, 4).map(lambda n: {"exactly": n}),
    st.tuples(st.integers(0, 4), st.integers(0, 4)).map(lambda pair: {"between": sorted(pair)}),
)
counts_same = st.one_of(
    st.just({}),
    st.integers(1, 4).map(lambda n: {"at_least": n}),
    st.integers(1, 3).map(lambda n: {"exactly": n}),
    st.tuples(st.integers(1, 4), st.integers(1, 4)).map(lambda pair: {"between": sorted(pair)}),
)
windows = st.none() | st.integers(1, 30)
wheres = st.none() | st.sampled_from("abc")
questions = st.one_of(
    st.tuples(counts, windows, wheres, st.just(False)),
    st.tuples(counts_same, windows, wheres, st.just(True)),
)
Question = tuple[dict[str, Any], int | None, str | None, bool]


def bounds(count: dict[str, Any]) -> tuple[int, int]:
    endless = 1 << 30
    match count:
        case {"at_least": n}:
            return n, endless
        case {"at_most": n}:
            return 0, n
        case {"exactly": n}:
            return n, n
        case {"between": [a, b]}:
            return a, b
    return 1, endless


def oracle(question: Question, happened: list[Sample], t: int) -> bool:
    """What the contract says, in the slowest words."""
    count, within, where, same = question
    least, most = bounds(count)
    counted = [
        value
        for at, _, value in happened
        if (where is None or value == where) and at <= t and (within is None or t - within < at)
    ]
    if same:
        return any(least <= counted.count(value) <= most for value in set(counted))
    return least <= len(counted) <= most


def compiled(question: Question) -> Condition:
    count, within, where, same = question
    node: dict[str, Any] = {"event": "X", **count}
    if within is not None:
        node["within"] = f"PT{within / 1000:.3f}S"
    if where is not None:
        node["where"] = {"properties.v": where}
    if same:
        node["same"] = "properties.v"
    return condition({"did": node})


def state_after(leaf: Condition, happened: list[Sample]) -> Any:
    state = None
    for at, tag, value in happened:
        state = leaf.leaves[0].observe(state, Event(f"{tag}", "track", "X", at, properties={"v": value}), tag)
    return state


def person_with(leaf: Condition, state: Any) -> Person:
    """Through msgpack and back, as it is stored."""
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    return Person(conditions={} if stored is None else {leaf.leaves[0].id: stored})


@settings(max_examples=300, deadline=None)
@given(questions, samples, st.randoms(use_true_random=False))
def test_truth_is_the_oracles_at_every_millisecond(question: Question, happened: list[Sample], random: Any) -> None:
    """Also reordered and with repeats, from the last event until every window has passed."""
    leaf = compiled(question)
    arrived = happened + [random.choice(happened) for _ in happened]
    random.shuffle(arrived)
    person = person_with(leaf, state_after(leaf, arrived))
    last = max((at for at, _, _ in happened), default=0)
    for t in range(last, last + 33):
        assert leaf.truth(person, t) is oracle(question, happened, t), t


@settings(max_examples=300, deadline=None)
@given(questions, samples)
def test_between_flips_nothing_turns(question: Question, happened: list[Sample]) -> None:
    """Whoever sleeps until ``next_flip`` misses no change, and is not woken for ever."""
    leaf = compiled(question)
    person = person_with(leaf, state_after(leaf, happened))
    last = max((at for at, _, _ in happened), default=0)
    edges = [last]
    while (edge := leaf.next_flip(person, edges[-1])) is not None:
        assert edge > edges[-1]
        edges.append(edge)
    assert len(edges) <= 2 * len(happened) + 1
    for start, end in pairwise([*edges, edges[-1] + 33]):
        assert len({leaf.truth(person, t) for t in range(start, end)}) == 1


@settings(max_examples=300, deadline=None)
@given(questions, samples, samples, samples)
def test_states_merge_in_any_order_to_the_state_of_all_events(
    question: Question, a: list[Sample], b: list[Sample], c: list[Sample]
) -> None:
    leaf = compiled(question).leaves[0]
    every = list({(at, tag): (at, tag, value) for at, tag, value in [*a, *b, *c]}.values())
    known = {(at, tag): value for at, tag, value in every}
    x, y, z = (state_after(leaf, [(at, tag, known[at, tag]) for at, tag, _ in part]) for part in (a, b, c))
    merged = leaf.merge(leaf.merge(x, y), z)
    assert merged == leaf.merge(x, leaf.merge(y, z)) == leaf.merge(leaf.merge(z, x), y) == leaf.merge(merged, merged)
    assert merged == state_after(leaf, every)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3), st.sampled_from("abcd")), max_size=15), st.randoms())
def test_the_bound_on_values_does_not_depend_on_the_order(arrived: list[Sample], random: Any) -> None:
    """Four samples in all, two a value: what is kept is a function of the set of events."""
    tally = NLatestByValue(2, most=4)
    shuffled = random.sample(arrived, len(arrived))
    states = []
    for order in (arrived, shuffled, shuffled + arrived):
        state = None
        for at, tag, value in order:
            state = tally.add(state, at, tag, [value])
        states.append(state)
    assert states[0] == states[1] == states[2]
    half = len(arrived) // 2
    parts = []
    for part in (arrived[:half], arrived[half:]):
        state = None
        for at, tag, value in part:
            state = tally.add(state, at, tag, [value])
        parts.append(state)
    present = [part for part in parts if part is not None]
    assert (tally.merge(*present) if len(present) == 2 else states[0]) == states[0]


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=10), st.integers(2, 4))
def test_a_repeat_gives_back_the_very_state(arrived: list[tuple[int, int]], keep: int) -> None:
    """So that nothing is stored and nothing is evaluated for it."""
    for tally in (Latest(), NLatest(keep), NLatestByValue(keep)):
        state: Any = None
        for at, tag in arrived:
            state = tally.add(state, at, tag, ["v"])
        for at, tag in arrived:
            assert tally.add(state, at, tag, ["v"]) is state
