"""The blob: its encoding over versions, its timers, its dedupe."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.decide import StateTooNew, deadline, decode_state, encode_state, new_state
from heliograph.decide.state import (
    SEEN_GENERATION,
    SEEN_MS,
    clear_timer,
    due_timer,
    seen_before,
    set_timer,
)
from tests.decide.driver import DAY, T0, World, journey, plan_document

GOLDEN = Path(__file__).parent.parent / "golden"


def full_state():
    """A state with something in every part of it."""
    lapsed = {"all": [{"did": {"event": "Order"}}, {"not": {"did": {"event": "Order", "within": "P30D"}}}]}
    steps = [{"send": "one"}, {"wait_until": {"any": [{"event": "Reply"}]}}]
    cart = journey("cart", entry={"event": "Start", "key": "properties.n", "reentry": {"after": "P1D"}}, steps=steps)
    gone = journey("gone", entry={"event": "Start"}, exit=[{"event": "Order"}], steps=[{"wait": "P1D"}])
    segments = {"buyers": {"did": {"event": "Order"}}, "lapsed": lapsed}
    world = World(plan_document([cart, gone], segments, templates={"one": {"last": ["Order"]}}))
    context = {"timezone": "Asia/Tokyo", "consent": {"categoryPreferences": {"marketing": True}}}
    world.identify(traits={"email": "ann@shop.example", "tags": ["a", 1, 2.5, None]}, anon="x", context=context)
    world.track("Start", n=1)
    world.track("Order", total=9.5)
    world.put_on_list("u:1", "spring")
    world.deliver()
    return world.state()


def test_a_state_survives_its_encoding():
    state = full_state()
    assert decode_state(encode_state(state)) == state


def test_blobs_of_every_released_version_still_read():
    """A golden blob is never changed: a new version of the state adds a new one and an up-converter."""
    for path in sorted(GOLDEN.glob("state-v*.bin")):
        state = decode_state(path.read_bytes())
        assert state.key == "u:1"
        assert state.traits["email"] == state.address == "ann@shop.example"
        assert set(state.members) == {"buyers", "spring"}
        assert [run.journey for run in state.runs.values()] == ["cart"]
        assert [run.reason for run in state.ended] == ["exited"]
        assert state.links and state.timers and state.conditions and state.last["Order"]
    assert list(GOLDEN.glob("state-v*.bin"))


def test_a_blob_with_fewer_fields_reads_with_defaults():
    """Fields are only appended, so a shorter array is an older state."""
    import msgspec

    assert decode_state(b"\x01" + msgspec.msgpack.encode(["u:1", 5])).created_at == 5


def test_a_blob_of_a_newer_version_stops_the_reader():
    with pytest.raises(StateTooNew):
        decode_state(b"\x02" + encode_state(new_state("u:1"))[1:])


def test_an_idle_profile_is_small():
    """At most 400 bytes beyond traits (design, section 10)."""
    world = World(plan_document(segments={"all": {"everyone": True}, "seen": {"did": {"event": "Visit"}}}))
    world.identify(traits={"email": "ann@shop.example"}, anon="0f8fad5b-d9cb-469f-a165-70867728950e")
    for _ in range(5):
        world.track("Visit")
    assert len(world.blobs["u:1"]) < 400


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.none() | st.integers(1, 9))))
def test_the_earliest_timer_is_always_known(moves):
    state = new_state("u:1")
    for timer, due in moves:
        if due is None:
            clear_timer(state, timer)
        else:
            set_timer(state, timer, due)
        assert deadline(state) == min(state.timers.values(), default=None)
        first = min(((due, timer) for timer, due in state.timers.items()), default=None)
        assert due_timer(state, 9) == first
        assert due_timer(state, 0) is None


def test_a_key_that_waits_for_a_link_asks_for_no_wake_up():
    state = new_state("u:1")
    set_timer(state, "a", 5)
    state.pending.append("a:x")
    assert deadline(state) is None


def test_dedupe_knows_at_least_the_last_2048_events_and_at_most_4096():
    state = new_state("u:1")
    marks = [n.to_bytes(8, "big") for n in range(3 * SEEN_GENERATION)]
    assert not any(seen_before(state, mark, T0) for mark in marks)
    assert all(seen_before(state, mark, T0) for mark in marks[-SEEN_GENERATION:])
    assert len(state.seen) + len(state.seen_before) <= 2 * SEEN_GENERATION * 8


def test_dedupe_remembers_a_quiet_person_for_at_least_three_days():
    state = new_state("u:1")
    seen_before(state, b"12345678", T0)
    assert seen_before(state, b"12345678", T0 + SEEN_MS)
    seen_before(state, b"abcdefgh", T0 + SEEN_MS)
    assert seen_before(state, b"12345678", T0 + SEEN_MS + DAY)


def test_marks_only_count_at_their_own_place():
    state = new_state("u:1")
    seen_before(state, b"aaaabbbb", T0)
    seen_before(state, b"ccccdddd", T0)
    assert not seen_before(state, b"bbbbcccc", T0)
