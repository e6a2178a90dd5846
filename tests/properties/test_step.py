"""Laws of ``step``: total over every record, a function of its arguments, at home in its encoding, convergent."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from heliograph.decide import compile_plan, decode_state, encode_state, is_blank, new_state, step
from heliograph.events.event import EVENT_NAMES, PRODUCT_EVENTS, Event
from heliograph.events.record import (
    Answer,
    Enter,
    EventBody,
    Expire,
    LedgerChange,
    LedgerRow,
    Link,
    ListChange,
    MergeInto,
    Offer,
    Outcome,
    Record,
    Touch,
    Unlink,
    Wake,
    decode_record,
    encode_record,
)
from tests.decide.driver import DAY, HOUR, MINUTE, T0, World, journey, plan_document

SEGMENTS = {
    "recent": {"did": {"event": "A", "within": "PT2H"}},
    "thrice": {"did": {"event": "A", "at_least": 3, "within": "P1D"}},
    "same": {"did": {"event": "B", "same": "properties.p", "at_least": 2}},
    "quiet": {"all": [{"did": {"event": "A"}}, {"not": {"in_segment": "recent"}}]},
    "gold": {"trait": {"path": "tier", "is": "gold"}},
    "both": {"all": [{"in_segment": "gold"}, {"any": [{"in_segment": "same"}, {"in_segment": "list"}]}]},
    "reader": {"in_topic": "news"},
    "soon": {"trait": {"path": "due", "within": "P2D"}},
    "all": {"everyone": True},
}
JOURNEYS = [
    journey(
        "cart",
        topic="offers",
        priority=5,
        entry={"event": "A", "key": "properties.p", "on_repeat": "restart", "reentry": {"after": "PT1H"}},
        exit=[{"event": "B", "match": "properties.p"}, {"if": {"in_segment": "gold"}}],
        goal={"event": "B", "within": "P1D", "value": "properties.p"},
        holdout="20%",
        steps=[
            {"wait": "PT30M"},
            {"send": "one", "on_failure": [{"wait": "PT1M"}]},
            {"wait_until": {"any": [{"event": "Email Clicked"}, {"if": {"in_segment": "quiet"}}], "timeout": "PT5H"}},
            {"branch": [{"if": {"in_segment": "same"}, "then": [{"send": "two"}]}, {"else": "exit"}]},
            {"wait": {"until": {"time": "09:00"}}},
            {"send": "three"},
        ],
    ),
    journey("quiet", entry={"segment": "quiet", "reentry": "never"}, steps=[{"send": "one"}, {"send": "two"}]),
    journey("left", entry={"event": "Segment Left", "on_repeat": "update"}, steps=[{"wait": "P1D"}, {"send": "two"}]),
    journey(
        "acts",
        entry={"event": "B", "on_repeat": "restart"},
        exit=[{"event": "A", "where": {"properties.p": "c2"}}],
        steps=[
            {
                "update": {
                    "traits": {"tier": "{{ event.properties.p | default: 'gold' }}", "due": "{{ run.entered_at }}"}
                }
            },
            {
                "split": {
                    "arms": {
                        "x": {
                            "weight": 1,
                            "then": [
                                {
                                    "emit": {
                                        "event": "A",
                                        "properties": {
                                            "p": "{{ profile.tier }}",
                                            "x": ["{{ event.properties }}", "{{ webhook.crm.tier }}!"],
                                        },
                                    }
                                }
                            ],
                        },
                        "y": {"weight": 2},
                    }
                }
            },
            {
                "webhook": {
                    "url": "https://a.test/{{ profile.x | default: 1 }}",
                    "json": "{{ profile.x }}",
                    "as": "crm",
                    "else": [{"send": "one"}],
                }
            },
            {"window": {"from": "22:00", "to": "06:00", "days": ["mon", "fri"]}, "id": "night"},
            {"wait": {"date": "due", "offset": "-P1M", "grace": "P30D", "else": "continue"}},
            {"branch": [{"if": {"in_segment": "gold"}, "then": {"goto": "night"}}]},
        ],
    ),
    journey(
        "weekly", entry={"schedule": "FREQ=DAILY;BYHOUR=9,21", "if": {"in_segment": "gold"}}, steps=[{"send": "two"}]
    ),
    journey("asked", entry={"api": True, "key": "properties.p"}, steps=[{"wait": "PT1H"}, {"send": "three"}]),
    journey("clicked", entry={"event": "Email Clicked"}, topic="news", steps=[{"send": "three"}]),
]
DOCUMENT = plan_document(
    JOURNEYS,
    SEGMENTS,
    topics={"offers": "required", "news": "assumed"},
    templates={"one": {"freshness_ms": HOUR, "last": ["A", "B"]}, "three": {"class": "transactional"}},
    policies={
        "caps": [
            {"max": 2, "per": "PT2H", "when_exceeded": "defer", "defer_for": "P1D"},
            {"max": 5, "per": "P1D", "topics": ["offers"]},
        ],
        "quiet_hours": {"from": "23:00", "to": "06:00"},
        "arbitrate": "PT5M",
        "global_holdout": "10%",
    },
)
DOCUMENT["broadcasts"] = {
    "all": {"name": "all", "template": "one", "topic": "news", "audience": {"everyone": True}},
    "gold": {"name": "gold", "template": "two", "audience": {"segment": "gold"}, "holdout": "30%"},
    "local": {"name": "local", "template": "two", "audience": {"if": {"did": {"event": "B"}}},
              "at": "2026-09-22T09:00", "local_time": True},
    "notice": {"name": "notice", "template": "three", "audience": {"broadcast": "all"}, "notice": True},
}  # fmt: skip
OTHER = plan_document(
    [JOURNEYS[-1]],
    {"recent": SEGMENTS["recent"], "gold": {"trait": {"path": "tier", "in": ["gold", "vip"]}}},
    topics={"news": "required"},
)
PLANS = [compile_plan(DOCUMENT, 1), compile_plan(OTHER, 2), compile_plan(DOCUMENT, 3)]

LEAVES = sorted(PLANS[0].leaves.leaves)

SCALARS = (
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats() | st.text(max_size=8)
    | st.sampled_from(["gold", "c1", "a@b.example", "2026-09-22", "Europe/Paris"])
)  # fmt: skip
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["email", "tier", "due", "timezone", "p", "x", "consent", "message_id"])
MAPS = st.dictionaries(NAMES, VALUES, max_size=4)
TOPICS = st.sampled_from(["news", "offers", "!bounce", ""])
PREFERENCES = st.dictionaries(TOPICS, st.booleans() | VALUES, max_size=3)
CONSENTS = st.fixed_dictionaries({"categoryPreferences": PREFERENCES}) | VALUES
CONTEXTS = st.fixed_dictionaries(
    {}, optional={"traits": MAPS | VALUES, "timezone": VALUES, "consent": CONSENTS, "historical": st.booleans()}
)
KEYS = st.sampled_from(["u:1", "u:2", "a:x", "a:y", "e:z"])
IDS = st.sampled_from(["1", "2", "x", "y", None])
TIMES = st.integers(T0 - 10 * DAY, T0 + 10 * DAY)
EVENTS = st.builds(
    Event,
    event_id=st.text(min_size=1, max_size=3),
    type=st.sampled_from(["track", "identify", "page", "screen", "group", "alias"]),
    name=st.sampled_from(["A", "B", "é", "", *EVENT_NAMES.values(), *PRODUCT_EVENTS]),
    occurred_at=st.integers(-(1 << 63), T0 + 10 * DAY),
    user_id=IDS,
    anonymous_id=IDS,
    previous_id=IDS,
    properties=MAPS,
    traits=MAPS,
    context=CONTEXTS,
)
ROWS = st.lists(
    st.builds(
        LedgerRow,
        address=st.sampled_from(["a@b.example", ""]),
        topic=st.sampled_from(["news", "offers", "!bounce", "!manual"]),
        given=st.booleans(),
        at=TIMES,
    ),
    max_size=2,
)
HOPS = st.integers(0, 9)
BODIES = st.one_of(
    st.builds(EventBody, event=EVENTS, rows=ROWS, hops=HOPS),
    st.builds(EventBody, event=EVENTS, rows=ROWS, hops=HOPS, depth=HOPS),
    st.just(Wake()),
    st.builds(Link, to=KEYS),
    st.builds(Unlink, source=KEYS),
    st.builds(MergeInto, source=KEYS, state=st.just(b"") | st.binary(max_size=9), hops=HOPS),
    st.builds(Outcome, message_id=st.text(max_size=3), kind=st.sampled_from(["sent", "clicked", "missed", "odd"]),
              at=TIMES, machine=st.booleans(), properties=MAPS, hops=HOPS),
    st.builds(LedgerChange, rows=ROWS, hops=HOPS),
    st.builds(Enter, journey=st.sampled_from(["asked", "acts", "none"]), event=EVENTS, hops=HOPS),
    st.builds(Answer, request_id=st.text(max_size=3), ok=st.booleans(), body=VALUES, hops=HOPS),
    st.builds(Touch, plan=st.integers(0, 9)),
    st.builds(Offer, broadcast=st.sampled_from(["all", "gold", "local", "notice", "never"]), plan=st.integers(0, 9),
              folds=st.dictionaries(st.sampled_from(LEAVES), VALUES, max_size=2), hops=HOPS),
    st.builds(Expire, idle_ms=st.integers(-1, 20 * DAY)),
    st.builds(ListChange, name=st.sampled_from(["list", "gold"]), on=st.booleans(), at=TIMES, hops=HOPS),
)  # fmt: skip
RECORDS = st.builds(
    Record, key=KEYS, id=st.text(min_size=1, max_size=4), received_at=TIMES, plan_version=st.just(1), body=BODIES
)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(RECORDS, st.integers(0, 2)), max_size=12))
def test_step_is_total_deterministic_and_at_home_in_its_encoding(records: list[tuple[Record, int]]) -> None:
    """Any record, any state, any plan: never a raise, twice the same, and the blob says it all."""
    states: dict[str, Any] = {}
    blobs: dict[str, bytes] = {}
    for record, at in records:
        record = decode_record(encode_record(_with_state(record, blobs)))
        plan = PLANS[at]
        state = states.get(record.key) or new_state(record.key)
        stored = decode_state(blobs[record.key]) if record.key in blobs else new_state(record.key)
        state, effects = step(state, record, plan)
        stored, same = step(stored, record, plan)
        assert repr(effects) == repr(same)  # NaN is not itself
        blobs[record.key] = encode_state(stored)
        assert encode_state(state) == blobs[record.key]
        assert encode_state(decode_state(blobs[record.key])) == blobs[record.key]
        states[record.key] = state


def _with_state(record: Record, blobs: dict[str, bytes]) -> Record:
    """An answer to a link, where it is not garbage, brings the state that its source has."""
    body = record.body
    if not isinstance(body, MergeInto) or body.state or body.source not in blobs:
        return record
    return replace(record, body=replace(body, state=blobs[body.source]))


OPEN = ("queued", "deferred")

ACTIONS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "A",
                "B",
                "identify",
                "login",
                "order",
                "wait",
                "deliver",
                "click",
                "consent",
                "list",
                "expire",
                "ask",
                "answer",
            ]
        ),
        st.sampled_from(["1", "2"]),
        st.sampled_from([None, "x", "y"]),
        st.sampled_from(["c1", "c2", None]),
        st.sampled_from([0, MINUTE, HOUR, DAY]),
    ),
    max_size=25,
)


def play(actions: list[tuple[Any, ...]]) -> World:
    """A story told to a world with several people, devices, mails and outcomes."""
    world = World(DOCUMENT)
    for what, user, anon, value, ms in actions:
        match what:
            case "A" | "B":
                world.track(what, user if ms else (None if anon else user), anon=anon, p=value)
            case "identify":
                world.identify(user, {"tier": value and "gold", "email": f"p{user}@shop.example"}, anon=anon)
            case "login" if anon:
                world.identify(user, anon=anon)
            case "consent":
                words = {"consent": {"categoryPreferences": {"offers": bool(ms), "news": bool(value)}}}
                world.identify(user, {}, context=words)
            case "list":
                world.put_on_list(f"u:{user}", "list", bool(ms))
            case "expire":
                world.append(f"a:{anon}", Expire(ms))
            case "wait":
                world.advance(ms)
            case "deliver":
                world.deliver()
            case "ask":
                world.enter("asked", user, p=value)
            case "answer":
                for request_id in list(world.requests)[:1]:
                    del world.requests[request_id]
                    world.append(world.owner[request_id], Answer(request_id, bool(ms), 200, {"tier": value}))
            case "click":
                for message_id in list(world.messages)[-1:]:
                    world.outcome(message_id, "clicked")
    return world


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_the_same_log_gives_the_same_effects(actions: list[tuple[Any, ...]]) -> None:
    """Replay feeds the logged records, hops included, into fresh states: effect by effect the same."""
    world = play(actions)
    states: dict[str, Any] = {}
    effects = []
    for record in world.log:
        record = decode_record(encode_record(record))
        states[record.key], made = step(states.get(record.key) or new_state(record.key), record, world.plan)
        effects += [(record.key, effect) for effect in made]
    assert effects == world.effects
    assert {key: encode_state(state) for key, state in states.items() if not is_blank(state)} == world.blobs


@settings(max_examples=150, deadline=None)
@given(ACTIONS)
def test_what_a_world_keeps_agrees_with_the_states(actions: list[tuple[Any, ...]]) -> None:
    """Memberships and holders of addresses are exactly those of the states; deadlines are never in the past; every
    message is decided once; a run that waits for an outcome has a message that is not finished."""
    world = play(actions)
    world.advance(1)
    states = {key: decode_state(blob) for key, blob in world.blobs.items()}
    assert world.members == {(name, key): at for key, state in states.items() for name, at in state.members.items()}
    holders = {(address, key) for address, keys in world.holders.items() for key in keys}
    assert holders == {(state.address, key) for key, state in states.items() if state.address}
    for state in states.values():
        assert state.next_due == min(state.timers.values(), default=0)
        assert not state.timers or state.next_due > world.now
        assert not state.pending and not state.parked
        assert all(timer[2:] in state.runs for timer in state.timers if timer[0] in "rx")
        for run in state.runs.values():
            assert not run.sending or world.status[run.message_id] == ("deferred" if run.planned_at else "queued")
            assert run.sending or run.held_out or "r:" + run.run_id in state.timers
            assert not run.awaits or run.awaits in world.requests, "an event of its own is decided by now"
        scheduled = world.plan.scheduled.keys() if state.plan_version else set()
        assert scheduled == {timer[2:] for timer in state.timers if timer[0] == "s"}
    assert len(world.requests) == sum(bool(run.awaits) for state in states.values() for run in state.runs.values())
    open_messages = {run.message_id for state in states.values() for run in state.runs.values() if run.sending}
    assert {message_id for message_id, status in world.status.items() if status in OPEN} == open_messages
