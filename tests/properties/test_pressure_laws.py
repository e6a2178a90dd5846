"""Laws of caps, quiet hours and arbitration, over random journeys, outcomes, delays, retries, exits and merges.

The oracle knows nothing of slots: it counts what the mailers did.
"""

from datetime import UTC, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from heliograph.decide import pressure
from heliograph.decide.effects import DecideMessage
from heliograph.decide.policies import Cap
from heliograph.decide.state import State
from heliograph.events.record import Outcome
from tests.decide.driver import DAY, HOUR, MINUTE, World, journey, plan_document

TOPICS = {"offers": "assumed", "news": "assumed"}
EVENTS = "ABCDE"
TEMPLATES: dict[str, dict[str, Any]] = {
    "b": {"freshness_ms": 6 * HOUR},
    "c": {"freshness_ms": 3 * DAY},
    "t": {"class": "transactional"},
}


def _journeys() -> list[dict[str, Any]]:
    def of(name: str, topic: str, priority: int, steps: list[Any], **more: Any) -> dict[str, Any]:
        entry = {"event": name.upper(), "key": "properties.n", **more}
        return journey(name, topic=topic, priority=priority, entry=entry, steps=steps, exit=[{"event": "Out"}])

    return [
        of("a", "offers", 5, [{"send": "a"}, {"send": "t"}]),
        of("b", "news", 1, [{"wait": "PT1H"}, {"send": "b", "on_failure": [{"send": "a"}]}]),
        of("c", "offers", 5, [{"send": "c"}, {"wait": "P1D"}, {"send": "a"}], on_repeat="restart"),
        of("d", "marketing", 9, [{"send": "d"}], **{"if": {"not": {"did": {"event": "B", "within": "PT2H"}}}}),
        of("e", "news", 0, [{"wait": "PT1H"}, {"send": "e"}, {"send": "e2"}]),
    ]


JOURNEYS = _journeys()

caps = st.fixed_dictionaries(
    {"max": st.integers(1, 3), "per": st.sampled_from(["PT1H", "P1D", "P7D", "PT90M"])},
    optional={"topics": st.sampled_from([["offers"], ["news", "marketing"]])},
)
patience = st.sampled_from([{}, {"when_exceeded": "defer", "defer_for": "P2D"},
                            {"when_exceeded": "defer", "defer_for": "P20D"}])  # fmt: skip
policies = st.fixed_dictionaries(
    {"caps": st.lists(st.builds(lambda cap, more: {**cap, **more}, caps, patience), min_size=1, max_size=3)},
    optional={
        "quiet_hours": st.sampled_from([{"from": "21:00", "to": "08:00"}, {"from": "12:00", "to": "13:30"}]),
        "arbitrate": st.sampled_from(["PT10M", "PT1H"]),
    },
)
actions = st.lists(
    st.one_of(
        st.tuples(st.just("track"), st.sampled_from(EVENTS), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("wait"), st.sampled_from([0, 1, MINUTE, 10 * MINUTE, HOUR, 5 * HOUR, DAY, 3 * DAY])),
        st.tuples(st.just("start"), st.integers(0, 9)),
        st.tuples(
            st.just("answer"), st.integers(0, 9), st.sampled_from(["sent", "sent", "bounced", "unknown", "retry"])
        ),
        st.tuples(st.just("stop"), st.integers(0, 9), st.sampled_from(["skipped", "expired", "cancelled"])),
        st.just(("out",)),
        st.just(("login",)),
    ),
    min_size=25,
    max_size=80,
)


class Mall(World):
    """One person, at first with a device of their own (``a:x``), and mailers that take their time."""

    def __init__(self, policies: dict[str, Any]) -> None:
        super().__init__(plan_document(JOURNEYS, policies=policies, topics=TOPICS, templates=TEMPLATES))
        self.linked = False
        self.caps = self.plan.policies.caps
        self.started: list[int] = []
        """When marketing mail began."""
        self.arrived: dict[str, int] = {}
        """Message -> when it was sent, or may have been."""
        self.late: dict[str, int] = {}
        """Message -> when it may be tried again."""
        self.identify(user="1", traits={"email": "ann@example.com"})
        self.identify(user=None, anon="x", traits={"email": "bob@example.com"})

    # -- the mailers --

    def pick(self, number: int, *statuses: str) -> str | None:
        found = sorted(one for one, status in self.status.items() if status in statuses)
        return found[number % len(found)] if found else None

    def start(self, message_id: str) -> None:
        """The commit point."""
        message = self.messages[message_id]
        if self.late.get(message_id, 0) > self.now:
            return
        assert message.not_before <= self.now
        if message.not_after and self.now >= message.not_after:
            self.outcome(message_id, "missed")
            return
        self.status[message_id] = "sending"
        if not message.transactional:
            self.started.append(self.now)

    def answer(self, message_id: str, kind: str) -> None:
        if kind != "retry":
            if kind in ("sent", "unknown"):
                self.arrived[message_id] = self.now
            self.outcome(message_id, kind)
            return
        not_after, again = self.messages[message_id].not_after, self.now + 2 * HOUR
        self.status[message_id] = "queued"
        self.late[message_id] = again
        if not_after and again >= not_after:
            self.status[message_id] = "deferred"
            self.append(self.owner[message_id], Outcome(message_id, "missed", again, "451 later"))

    def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("track", name, n, known):
                user, anon = ("1", None) if known or self.linked else (None, "x")
                self.track(name, user, anon=anon, n=n)
            case ("wait", ms):
                self.advance(ms)
            case ("start", number) if found := self.pick(number, "queued"):
                self.start(found)
            case ("answer", number, kind) if found := self.pick(number, "sending"):
                self.answer(found, kind)
            case ("stop", number, kind) if found := self.pick(number, "queued"):
                self.outcome(found, kind)
            case ("out",):
                self.track("Out")
            case ("login",):
                self.linked = True
                self.identify(user="1", anon="x")

    # -- the oracle --

    def _carry_out(self, key: str, effect: Any) -> None:
        super()._carry_out(key, effect)
        if isinstance(effect, DecideMessage) and effect.status == "queued" and not effect.transactional:
            for cap in self.caps:
                if cap.covers(str(effect.topic)):
                    self.check_cap(cap, key)

    def check_cap(self, cap: Cap, key: str) -> None:
        """All that may still be sent, sent right now, together with what was."""
        count = 0
        for message_id, message in self.messages.items():
            if (
                message.transactional
                or not cap.covers(str(message.topic))
                or not self.same(self.owner[message_id], key)
            ):
                continue
            open = self.status[message_id] in ("queued", "sending")
            count += open or self.now - cap.per_ms < self.arrived.get(message_id, -(10**15)) <= self.now
        assert count <= cap.max, f"{count} under {cap.text}"

    def same(self, one: str, other: str) -> bool:
        return self.linked or one == other

    def check(self) -> None:
        for blob_key in ("u:1", "a:x"):
            state = self.state(blob_key)
            plans = {run.message_id: run.planned_at for run in state.runs.values() if run.planned_at}
            assert state.timers.get(pressure.TIMER) == min(plans.values(), default=None)
            for slot in state.slots:
                status = self.status[slot.message_id]
                if slot.sent:
                    assert self.arrived[slot.message_id] == slot.at
                else:
                    assert status in ("queued", "sending", "deferred"), f"a slot leaked: {status}"
                    assert status != "deferred" or plans[slot.message_id] == slot.at
            for run in state.runs.values():
                if run.planned_at:
                    assert self.status[run.message_id] == "deferred"

    def check_nobody_waits_in_vain(self, hours: dict[str, str] | None) -> None:
        """What waits could not go now without somebody else giving up a place.  Not asked while it is quiet, and of
        what is to be compared or to be tried again later."""
        if hours and is_quiet(self.now, hours, "Europe/London"):
            return
        for key in ("u:1", "a:x"):
            state = self.state(key)
            for run in state.runs.values():
                held = run.planned_at and pressure.holds_slot(state, run.message_id)
                if held and self.late.get(run.message_id, 0) <= self.now:
                    assert not self.fits(run.message_id, state), f"{run.message_id} could go"

    def fits(self, message_id: str, state: State) -> bool:
        topic, now = str(self.messages[message_id].topic), self.now
        for cap in self.caps:
            others = [one for one in state.slots if one.message_id != message_id and cap.covers(one.topic)]
            times = [now, *(pressure.counts_at(one, now) for one in others)]
            windows = ([at for at in times if end - cap.per_ms < at <= end] for end in times)
            if cap.covers(topic) and any(now in window and len(window) > cap.max for window in windows):
                return False
        return True

    def finish(self) -> None:
        """Everything comes to its end."""
        for _ in range(400):
            self.advance(6 * HOUR)
            while found := self.pick(0, "sending"):
                self.answer(found, "sent")
            for message_id in [one for one, status in self.status.items() if status == "queued"]:
                self.start(message_id)
            if not any(status in ("queued", "sending", "deferred") for status in self.status.values()):
                return
        raise AssertionError(f"still open: {self.status}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(policies, actions)
def test_caps_hold_quiet_hours_hold_and_no_slot_leaks(policies, actions):
    mall = Mall(policies)
    for action in actions:
        mall.act(action)
        mall.check()
        mall.advance(0)
        mall.check_nobody_waits_in_vain(policies.get("quiet_hours"))
    mall.finish()
    mall.check()
    for key in {"u:1", "u:1" if mall.linked else "a:x"}:
        assert all(slot.sent for slot in mall.state(key).slots), "reservations of what is over"
        assert not any(run.planned_at for run in mall.state(key).runs.values())
    hours = policies.get("quiet_hours")
    for at in mall.started if hours else []:
        assert not is_quiet(at, hours, "Europe/London"), datetime.fromtimestamp(at / 1000, UTC)
    if not mall.linked:
        for cap in mall.caps:
            for key in ("u:1", "a:x"):
                check_windows(mall, cap, key)
    for reason in {row.reason for row in mall.messages.values()}:
        event(reason.partition(":")[0])


def check_windows(mall: Mall, cap: Cap, key: str) -> None:
    """Of one person whom nobody was merged with: no window of what arrived holds too many."""
    times = sorted(
        at for one, at in mall.arrived.items()
        if mall.owner[one] == key and not mall.messages[one].transactional and cap.covers(str(mall.messages[one].topic))
    )  # fmt: skip
    for end in times:
        assert sum(end - cap.per_ms < at <= end for at in times) <= cap.max


# -- arbitration --


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 3), st.integers(0, 9)), min_size=1, max_size=8),
    st.integers(1, 4),
    st.sampled_from([{}, {"when_exceeded": "defer", "defer_for": "P20D"}]),
)
def test_the_best_of_a_window_get_the_places(candidates, most, more):
    """``candidates``: (priority, minutes after the one before)."""
    found = [
        journey(f"j{at:02}", priority=priority, entry={"event": f"E{at}"}, steps=[{"send": f"m{at:02}"}])
        for at, (priority, _) in enumerate(candidates)
    ]
    cap = {"max": most, "per": "P1D", **more}
    world = World(plan_document(found, policies={"caps": [cap], "arbitrate": "P1D"}))
    world.identify(traits={"email": "ann@example.com"})
    for at, (_, minutes) in enumerate(candidates):
        world.advance(minutes * MINUTE)
        world.track(f"E{at}")
    world.advance(DAY - sum(minutes for _, minutes in candidates[1:]) * MINUTE)
    best = sorted(
        range(len(candidates)), key=lambda at: (-candidates[at][0], sum(m for _, m in candidates[1 : at + 1]))
    )
    ranks = {f"m{at:02}": (-candidates[at][0], world.messages[message_id_of(world, at)].created_at) for at in best}
    queued, others = world.queued(), [name for name in ranks if name not in world.queued()]
    assert len(queued) == min(most, len(candidates))
    assert not others or max(ranks[name] for name in queued) <= min(ranks[name] for name in others)


def message_id_of(world: World, at: int) -> str:
    return next(one for one, message in world.messages.items() if message.template == f"m{at:02}")


# -- quiet hours over both changes of the clock --

ZONES = ["Europe/London", "America/New_York", "Australia/Lord_Howe", "America/Santiago", "Pacific/Auckland"]


def changes(zone: str) -> list[int]:
    """The instants of 2026 and 2027 at which clocks in ``zone`` are put, to the minute."""
    found, at = [], int(datetime(2026, 1, 1, tzinfo=UTC).timestamp() * 1000)
    offsets = [ZoneInfo(zone).utcoffset(datetime.fromtimestamp((at + n * HOUR) / 1000, ZoneInfo(zone)))
               for n in range(24 * 730)]  # fmt: skip
    for n in range(1, len(offsets)):
        if offsets[n] != offsets[n - 1]:
            found.append(at + n * HOUR)
    return found


CHANGES = {zone: changes(zone) for zone in ZONES}


def is_quiet(at: int, hours: dict[str, str], zone: str) -> bool:
    """By what the clock on the wall shows."""
    local = (datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=at)).astimezone(ZoneInfo(zone)).time()
    start, end = time.fromisoformat(hours["from"]), time.fromisoformat(hours["to"])
    return start <= local < end if start < end else local >= start or local < end


clocks = st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 15, 30, 45, 59]))


@pytest.mark.parametrize("zone", ZONES)
@settings(max_examples=60, deadline=None)
@given(st.data())
def test_no_marketing_mail_begins_in_quiet_hours_over_both_changes_of_the_clock(zone, data):
    assert len(CHANGES[zone]) == 4
    start, end = data.draw(st.lists(clocks, min_size=2, max_size=2, unique=True))
    change = data.draw(st.sampled_from(CHANGES[zone]))
    at = change + data.draw(st.integers(-30 * HOUR, 6 * HOUR))
    hours = {"from": start, "to": end, "timezone": "person"}
    world = World(plan_document([journey()], policies={"quiet_hours": hours}), now=at)
    world.identify(traits={"email": "ann@example.com", "timezone": zone})
    world.track("Start")
    (run,) = world.state().runs.values()
    if not run.planned_at:
        assert not is_quiet(at, hours, zone)
    else:
        assert is_quiet(at, hours, zone) and is_quiet(run.planned_at - 1, hours, zone)
        world.advance(run.planned_at - at)
        assert world.queued() == ["mail"]
    assert not is_quiet(world.now, hours, zone)
    (message,) = world.messages.values()
    assert is_quiet(message.not_after, hours, zone) and not is_quiet(message.not_after - 1, hours, zone)
    assert not any(is_quiet(moment, hours, zone) for moment in range(world.now, message.not_after, 15 * MINUTE))
