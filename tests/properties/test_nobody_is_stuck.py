"""Law: whatever journeys say and however they are edited, whoever is merged, forgotten or late: a run can always go on.

Random journeys, plans that follow each other, people and devices.  After each act every active run has something that
wakes it: a timer, a message that is not finished, or the instant at which a message that waits is decided again.  When
all outcomes have come and the longest wait is over, nobody is under way who began before that.
"""

import random
from collections import deque
from typing import Any

import pytest

from heliograph.decide import State, decode_state
from heliograph.events.record import Answer, Record
from tests.decide.driver import DAY, HOUR, MINUTE, World, journey, plan_document

TEMPLATES = ("one", "two", "three")
LONGEST_MS = 92 * DAY
"""A ``wait_until`` of P90D, and what holds a message back."""


class Author:
    """Writes journeys and plans."""

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance

    def step(self, name: str) -> dict[str, Any]:
        pick = self.chance.choice
        paths = [{"event": pick(["Email Clicked", "A", "B"])}, {"if": {"in_segment": pick(["recent", "gold"])}}]
        steps: list[dict[str, Any]] = [
            {"wait": pick(["PT10M", "PT2H", "P1D"])},
            {"wait": {"until": {"time": "09:00"}}},
            {"wait": {"date": "due", "offset": pick(["-P1D", "P1D"]), "else": "continue"}},
            {"window": {"from": "08:00", "to": "20:00"}},
            {"send": pick(TEMPLATES)},
            {"send": pick(TEMPLATES)},
            {"wait_until": {"any": paths, **pick([{"timeout": "PT1H"}, {"timeout": "P1D"}, {}])}},
            {"update": {"traits": {"tier": pick(["gold", "silver"])}}},
            {"emit": {"event": pick("ABC"), "properties": {"p": "{{ event.properties.p | default: 'c1' }}"}}},
            {"webhook": {"url": "https://crm.example/", "as": "crm", "else": "continue"}},
            {"split": {"arms": {"x": {"weight": 1}, "y": {"weight": 1, "then": [{"wait": "PT5M"}]}}}},
        ]
        return {**pick(steps), "id": name}

    def journey(self, name: str) -> dict[str, Any]:
        pick, share = self.chance.choice, self.chance.random
        entry = pick(
            [
                {"event": "A", "key": "properties.p", "on_repeat": pick(["ignore", "restart", "update"])},
                *({"event": one} for one in ("B", "C", "Segment Left", "Email Clicked", "Email Skipped")),
                {"segment": "recent"},
                {"schedule": "FREQ=DAILY;BYHOUR=9,17"},
            ]
        )
        parts: dict[str, Any] = {"on_edit": pick(["pin", "follow"]), "priority": self.chance.randint(0, 3)}
        if share() < 0.5:
            parts["exit"] = [pick([{"event": "B"}, {"if": {"in_segment": "gold"}}, {"event": "Email Clicked"}])]
        if share() < 0.5:
            parts |= {"goal": {"event": "B", "within": "P1D"}, "holdout": pick(["0%", "30%"])}
        steps = [self.step(f"s{at}") for at in range(self.chance.randint(1, 5))]
        return journey(name, topic=pick(["offers", "news"]), entry=entry, steps=steps, **parts)

    def plan(self) -> dict[str, Any]:
        pick = self.chance.choice
        patient = {"when_exceeded": "defer", "defer_for": "P1D"}
        caps = pick([[], [{"max": 1, "per": "PT2H", **patient}], [{"max": 1, "per": "P1D"}, {"max": 2, "per": "P2D"}]])
        policies = {"caps": caps, "quiet_hours": {"from": pick(["15:00", "21:00"]), "to": pick(["07:00", "08:00"])}}
        return plan_document(
            [self.journey(name) for name in self.chance.sample(["j1", "j2", "j3", "j4"], 3)],
            {
                "recent": {"did": {"event": pick("AB"), "within": pick(["PT2H", "P1D"])}},
                "gold": {"trait": {"path": "tier", "is": "gold"}},
            },
            templates={
                "one": {"freshness_ms": pick([None, HOUR, DAY])},
                "two": {},
                "three": {"class": "transactional"},
            },
            topics={"offers": "required", "news": "assumed"},
            policies=policies | ({"arbitrate": "PT5M"} if caps and self.chance.random() < 0.5 else {}),
        )

    def edited(self, document: dict[str, Any]) -> dict[str, Any]:
        """One journey with some of its steps written anew, under the ids they had."""
        journeys = dict(document["journeys"])
        name = self.chance.choice(sorted(journeys))
        steps = [self.step(step["id"]) if self.chance.random() < 0.4 else step for step in journeys[name]["steps"]]
        return {**document, "journeys": {**journeys, name: {**journeys[name], "steps": steps}}}


class Slow(World):
    """Hops are decided some time after the records that they follow from, in order, as they are at scale."""

    def __init__(self, document: dict[str, Any], chance: random.Random) -> None:
        super().__init__(document)
        self.late: deque[Record] = deque()
        self.chance = chance

    def feed(self, *records: Record) -> None:
        if self._deciding:
            self.late.extend(records)
            return
        for record in records:
            self._decide_one(record)
        while self.late and self.chance.random() < 0.5:
            self._decide_one(self.late.popleft())

    def _decide_one(self, record: Record) -> None:
        self._deciding = True
        self._decide(record)
        self._deciding = False
        self.late.extend(self._hops)
        self._hops.clear()

    def catch_up(self) -> None:
        while self.late:
            self._decide_one(self.late.popleft())


def publish(world: World, document: dict[str, Any], *, touch: bool) -> None:
    """With the versions that have runs, as a server keeps them."""
    pinned = {
        f"{run.journey}@{run.version}": found.document
        for blob in world.blobs.values()
        for run in decode_state(blob).runs.values()
        if (found := world.plan.all_journeys.get((run.journey, run.version))) is not None
        and document["journeys"].get(run.journey) != found.document
    }
    world.publish({**document, "fresh": None, "pinned": pinned}, touch=touch)


def act(world: World, author: Author) -> None:
    """One thing that may happen."""
    pick, share = author.chance.choice, author.chance.random
    user, device = pick("12"), pick([None, "x", "y"])
    what = author.chance.choices(
        ["event", "late", "identify", "alias", "wait", "sleep", "deliver", "click", "miss", "answer", "say", "list",
         "publish", "edit", "sweep"],
        [11, 3, 3, 0.2, 6, 2, 5, 3, 2, 3, 2, 1, 1, 3, 1],
    )[0]  # fmt: skip
    match what:
        case "event":
            by_device = device is not None and share() < 0.4
            world.track(pick("AB"), None if by_device else user, anon=device, p=pick(["c1", "c2", None]))
        case "late":
            context = pick([{}, {"historical": True}])
            world.track(pick("AB"), user, at=world.now - pick([2 * HOUR, DAY, 5 * DAY]), p="c1", context=context)
        case "identify":
            due, zone = pick(["2026-09-23", "2026-09-22T10:00:00Z", None]), pick(["UTC", "Asia/Tokyo", "junk"])
            traits = {"tier": pick(["gold", "silver", None]), "due": due, "timezone": zone}
            world.identify(user, {"email": f"p{user}@shop.example", **traits}, anon=device)
        case "alias":
            world.alias("1", "2")
        case "wait":
            world.advance(pick([MINUTE, 10 * MINUTE, HOUR, DAY]))
        case "sleep":
            world.now += pick([HOUR, 10 * HOUR, 2 * DAY])
        case "deliver":
            world.deliver()
        case "click" if world.messages:
            world.outcome(pick(list(world.messages)), "clicked")
        case "miss":
            for message_id in [one for one, status in world.status.items() if status == "queued"]:
                world.outcome(message_id, "missed", reason="451")
        case "answer":
            answer(world, author, 1.0)
        case "say":
            world.say(f"p{user}@shop.example", pick(["news", "offers", "!bounce"]), share() < 0.7)
        case "list":
            world.put_on_list(f"u:{user}", "vip", share() < 0.5)
        case "publish":
            publish(world, author.plan(), touch=share() < 0.7)
        case "edit":
            publish(world, author.edited(world.plan.document), touch=share() < 0.7)
        case "sweep":
            for key in list(world.blobs):
                world.sweep(key)


def answer(world: World, author: Author, chance: float) -> None:
    for request_id in [one for one in world.requests if author.chance.random() < chance]:
        if world.requests.pop(request_id, None) is not None:
            ok = author.chance.random() < 0.5
            world.append(world.owner[request_id], Answer(request_id, ok, 200 if ok else 500, {"tier": "gold"}))


def check(world: World) -> None:
    """Every active run can be woken, and nothing is kept for one that is not there."""
    for state in map(decode_state, world.blobs.values()):
        assert not state.pending and not state.parked
        for run in state.runs.values():
            held = run.planned_at != 0
            if run.sending:
                assert world.status[run.message_id] == ("deferred" if held else "queued"), run
                assert not held or state.timers["p:"] <= run.planned_at, run
            else:
                assert not held and "r:" + run.run_id in state.timers, run
        _no_leftovers(world, state)


def _no_leftovers(world: World, state: State) -> None:
    assert all(timer[2:] in state.runs for timer in state.timers if timer[0] in "rx")
    assert ("p:" in state.timers) == any(run.planned_at for run in state.runs.values())
    assert state.next_due == min(state.timers.values(), default=0)
    open_slots = {slot.message_id for slot in state.slots if not slot.sent}
    assert all(world.status[message_id] in ("queued", "deferred") for message_id in open_slots)
    if state.plan_version == world.plan.version:
        assert {timer[2:] for timer in state.timers if timer[:2] == "s:"} == set(world.plan.scheduled)


def tell(seed: int, world: World, author: Author, acts: int = 45) -> None:
    """A story; then all outcomes come, and the longest wait goes by."""
    late = world.catch_up if isinstance(world, Slow) else lambda: None
    for user in "12":
        world.identify(user, {"email": f"p{user}@shop.example", "timezone": "UTC"})
    for _ in range(acts):
        act(world, author)
        if not isinstance(world, Slow) or author.chance.random() < 0.2:
            late()
            check(world)
    began = world.now
    while world.now - began < LONGEST_MS:
        for message_id in [one for one, status in world.status.items() if status == "queued"]:
            world.outcome(message_id, author.chance.choice(["sent", "bounced", "unknown", "expired"]))
        answer(world, author, 0.5)
        late()
        world.advance(DAY)
        late()
        check(world)
    left = [run for blob in world.blobs.values() for run in decode_state(blob).runs.values() if run.since < began]
    assert not left, seed


@pytest.mark.parametrize("seed", range(8))
def test_nobody_is_stuck(seed: int) -> None:
    author = Author(random.Random(seed))
    tell(seed, World(author.plan()), author)


@pytest.mark.parametrize("seed", range(100, 104))
def test_nobody_is_stuck_where_hops_take_their_time(seed: int) -> None:
    author = Author(random.Random(seed))
    tell(seed, Slow(author.plan(), author.chance), author)
