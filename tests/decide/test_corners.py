"""Where two things meet: a timer and a publish, a late record and a cancelled message, the end of a calendar."""

import random
from typing import Any

import pytest

from heliograph.events.event import Event
from heliograph.events.record import Answer, EventBody, Expire, Outcome, Touch, Wake
from tests.decide.driver import DAY, HOUR, SECOND, World, journey, plan_document
from tests.decide.people import condition

KNOWN = {"email": "a@b.example", "timezone": "UTC"}
NEWS = {"news": "assumed"}
END_OF_TIME = 253_402_300_799_999
"""The last ms of the year 9999."""


def test_an_occurrence_of_a_schedule_that_was_changed_starts_nothing() -> None:
    def daily(hour: int) -> dict[str, Any]:
        entry = {"schedule": f"FREQ=DAILY;BYHOUR={hour}"}
        return plan_document([journey("digest", entry=entry, steps=[{"send": "mail"}])])

    world = World(daily(16))
    world.identify(traits=KNOWN)
    world.publish(daily(18), touch=False)
    world.advance(3 * HOUR)  # 17:13: the sweep has not come by
    assert world.facts("run_started") == []
    world.advance(HOUR)
    assert world.deliver() == ["mail"]
    assert len(world.facts("run_started")) == 1


def test_a_schedule_that_was_not_changed_keeps_its_occurrence_over_a_publish() -> None:
    def daily(**parts: Any) -> dict[str, Any]:
        return plan_document([journey("digest", entry={"schedule": "FREQ=DAILY;BYHOUR=16"}, **parts)])

    world = World(daily())
    world.identify(traits=KNOWN)
    world.publish(daily(priority=3), touch=False)
    world.advance(3 * HOUR)
    assert world.deliver() == ["mail"]


def test_an_outcome_of_a_message_that_waits_ends_its_waiting() -> None:
    """A copy whose connection broke was to be sent again, which had to wait; then its receiver speaks of it."""
    steps = [{"send": "one"}, {"wait": "P5D"}, {"send": "two"}]
    document = plan_document(
        [journey(topic="news", steps=steps)],
        topics=NEWS,
        policies={"quiet_hours": {"from": "14:00", "to": "08:00"}, "caps": [{"max": 1, "per": "P1D"}]},
    )
    world = World(document)
    world.identify(traits=KNOWN)
    world.track("Start")
    (held,) = world.status
    assert world.status[held] == "deferred"
    world.append("u:1", Outcome(held, "bounced", world.now))
    assert world.status[held] == "cancelled"
    world.advance(2 * DAY)
    assert world.runs() == [("j", "wait-1")]
    assert world.state().slots == []
    world.advance(4 * DAY)
    assert [message.template for message in world.messages.values()] == ["one", "two"]


def test_late_timers_ask_once_whether_a_message_was_cancelled_in_time() -> None:
    """The word on it comes with the records behind this one, however long ago the timers were due."""
    leaves = {"if": {"not": {"did": {"event": "A", "within": "PT1H"}}}}
    document = plan_document(
        [
            journey("holds", topic="news", entry={"event": "A"}, exit=[leaves]),
            journey("waits", topic="news", entry={"event": "B"}, steps=[{"wait": "PT2H"}, {"send": "mail"}]),
        ],
        topics=NEWS,
        policies={"caps": [{"max": 1, "per": "P1D"}]},
    )
    world = World(document)
    world.identify(traits=KNOWN)
    world.track("A")
    world.track("B")
    before = len(world.effects)
    world.now += 12 * HOUR
    world.append("u:1", Wake())
    assert len(world.effects) - before < 20
    world.advance(2 * SECOND)
    assert world.queued() == ["mail"]


def test_what_turns_true_as_a_wait_ends_is_in_time() -> None:
    turned = {"if": {"not": {"did": {"event": "Start", "within": "PT1H"}}}, "then": [{"send": "yes"}]}
    wait = {"wait_until": {"any": [turned], "timeout": "PT1H", "else": [{"send": "no"}]}}
    world = World(plan_document([journey(steps=[wait])]))
    world.identify(traits=KNOWN)
    world.track("Start")
    world.advance(HOUR)
    assert world.queued() == ["yes"]
    assert [fact["what"] for fact in world.facts("run_step")] == ["waiting", "resumed"]


@pytest.mark.parametrize("before", [0, DAY, 40 * DAY, 400 * DAY])
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Kiritimati", "America/Los_Angeles"])
def test_a_calendar_ends_without_a_raise(before: int, zone: str) -> None:
    steps = [
        {"wait": {"until": {"time": "09:00"}}},
        {"window": {"from": "08:00", "to": "20:00", "days": ["mon"]}},
        {"wait": "P1M"},
        {"wait": {"date": "due", "offset": "P1M", "else": "continue"}},
        {"send": "mail"},
    ]
    document = plan_document(
        [journey(topic="news", steps=steps), journey("daily", entry={"schedule": "FREQ=DAILY;BYHOUR=9"})],
        {"soon": {"trait": {"path": "due", "within": "P2D"}}},
        topics=NEWS,
        policies={"quiet_hours": {"from": "21:00", "to": "08:00"}},
    )
    world = World(document, now=END_OF_TIME - before)
    world.identify(traits={**KNOWN, "timezone": zone, "due": "9999-12-31T23:59:59Z"})
    world.track("Start")
    for _ in range(8):
        if (due := world.next_due()) is None:
            break
        world.now = max(world.now, due[0])
        world.append(due[1], Wake())
        world.deliver()
    assert [message.template for message in world.messages.values()].count("mail") >= 1


def test_what_has_no_id_is_what_nobody_waits_for() -> None:
    world = World(plan_document([journey(steps=[{"wait": "PT1H"}])]))
    world.track("Start")
    world.append("u:1", Answer("", True, 200, {}))
    assert world.facts("webhook_answered") == [{"request_id": "", "ok": True, "status": 200, "reason": ""}]
    world.append("u:1", EventBody(Event("", "track", "Odd", world.now), depth=1))
    assert world.runs() == [("j", "wait-1")]


def test_a_publish_that_changes_a_cap_loses_no_entry_by_timer() -> None:
    """Nobody's segments changed: what time turns before the sweep comes by is news."""

    def capped(most: int) -> dict[str, Any]:
        quiet = {"all": [{"did": {"event": "A"}}, {"not": {"did": {"event": "A", "within": "PT1H"}}}]}
        caps = {"caps": [{"max": most, "per": "P1D"}]}
        entry = {"segment": "quiet"}
        return plan_document([journey(topic="news", entry=entry)], {"quiet": quiet}, topics=NEWS, policies=caps)

    world = World(capped(1))
    world.identify(traits=KNOWN)
    world.track("A")
    world.publish(capped(2), touch=False)
    world.advance(2 * HOUR)
    assert world.deliver() == ["mail"]


def test_a_topic_with_another_rule_turns_the_segments_that_ask_it_and_no_others() -> None:
    segments = {"reads": {"in_topic": "news"}, "buys": {"in_topic": "offers"}, "both": {"in_segment": "reads"}}

    def ruled(rule: str) -> dict[str, Any]:
        return plan_document(segments=segments, topics={"news": rule, "offers": "assumed"})

    world = World(ruled("required"))
    world.identify(traits=KNOWN)
    assert world.segments() == ["buys"]
    world.publish(ruled("assumed"))
    assert world.segments() == ["both", "buys", "reads"]
    assert dict(world.plan.fresh.segments) == {"reads": 2, "buys": 1, "both": 1}


def test_somebody_who_was_forgotten_and_clicks_in_an_old_mail_is_known_again() -> None:
    """And takes what comes of it along when they log in."""
    clicked = journey("clicked", entry={"event": "Email Clicked"}, steps=[{"wait": "P1D"}])
    segments = {"clickers": {"engaged": {"kind": "clicked"}}, "all": {"everyone": True}}
    world = World(plan_document([journey(), clicked], segments))
    world.track("Start", None, anon="x", context={"traits": KNOWN})
    world.deliver()
    world.advance(31 * DAY)
    world.append("a:x", Expire(30 * DAY))
    assert not world.blobs
    (message_id,) = world.messages
    world.outcome(message_id, "clicked")
    assert world.segments("a:x") == ["all", "clickers"]
    world.track("Viewed", "1", anon="x")
    assert world.segments() == ["all", "clickers"]
    assert world.runs() == [("clicked", "wait-1")]


LEAVES: dict[str, dict[str, Any]] = {
    "once": {"did": {"event": "A"}},
    "lately": {"did": {"event": "A", "within": "P1D"}},
    "never": {"did": {"event": "A", "at_most": 0}},
    "often": {"did": {"event": "A", "between": [2, 5], "within": "P1D"}},
    "same": {"did": {"event": "A", "same": "properties.v", "at_least": 3}},
    "sum": {"did_sum": {"event": "A", "property": "properties.v", "gte": 10}},
    "least": {"did_min": {"event": "A", "property": "properties.v", "lt": 0, "within": "P1D"}},
    "distinct": {"did_distinct": {"event": "A", "property": "properties.v", "gte": 3}},
    "sequence": {"sequence": {"events": [{"event": "A"}, {"event": "B"}, {"event": "A"}], "within": "PT1H"}},
    "near": {"near": {"lat": 1, "lon": 2, "radius_m": 100}},
    "clicked": {"engaged": {"kind": "clicked"}},
}
EIGHT = b"12345678"
JUNK: list[Any] = [
    None, 0.5, "x", True, [], {}, [[]], [1], ["x", "y"], [EIGHT, EIGHT + EIGHT], [EIGHT], [b"1", b"2"], {"a": 1},
    {"a": [1]}, {"a": ["x", "y"]}, [EIGHT, EIGHT, b"1234", "a", 1], [EIGHT, EIGHT, EIGHT, 1, 1], [EIGHT] * 3,
    [None, [None], [], []], [None, [None, None], [1], [], []], ["x", [[1, 2, 3], None], [], [], []], [None, None],
]  # fmt: skip


@pytest.mark.parametrize("name", LEAVES)
@pytest.mark.parametrize("first", [0, 1])
def test_a_fold_that_is_none_is_left_alone(name: str, first: int) -> None:
    for junk in JUNK:
        world = World(plan_document(segments={name: LEAVES[name]}))
        world.track("A" if first else "Other", v=5)
        (leaf,) = world.plan.leaves.leaves
        world.append("u:1", Touch(1, {leaf: junk}))
        world.track("A", v=7, context={"location": {"latitude": 1, "longitude": 2}})
        world.advance(2 * DAY)


@pytest.mark.parametrize("name", LEAVES)
def test_every_state_that_events_lead_to_is_sound(name: str) -> None:
    """Also where more happened than is kept."""
    chance = random.Random(name)
    (leaf,) = condition(LEAVES[name]).leaves
    state = None
    for number in range(2600):
        kind, at = chance.choice(["A", "A", "A", "B", "Email Clicked"]), chance.randrange(10 * DAY)
        context = {"location": {"latitude": 1, "longitude": 2}}
        properties = {"v": chance.choice([-1, 0.5, "x", number, [1, number]])}
        event = Event(f"e{number}", "track", kind, at, properties=properties, context=context)
        state = leaf.observe(state, event, number)
        assert state is None or number % 100 or leaf.sound(state)
    assert leaf.sound(state)
    assert not leaf.sound(None)
