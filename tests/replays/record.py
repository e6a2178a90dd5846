"""Records histories anew: ``python -m tests.replays.record [NAME ...]``.  Do it only to say that decisions may change.

Four worlds without trouble: the shop with the traffic of ``heliograph simulate``, ``examples/exact``, and the plan of
every feature that the simulator knows, without and with broadcasts.  In each, people come as visitors and log in,
things arrive late and twice, mail comes to all sorts of ends, and edits are published while runs are under way.
"""

import contextlib
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.decode import decode_call
from heliograph.events.event import API_ENTRY, Event
from heliograph.events.record import Answer, LedgerRow, ListChange, Outcome, encode_record
from heliograph.ports import BroadcastRefused
from heliograph.project import check_project
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.simulate import shop
from tests.replays.histories import History, replay, save
from tests.simulation import letters, plans
from tests.simulation.mailer import SimMailer
from tests.simulation.people import People
from tests.simulation.world import DAY

EXAMPLES = Path(__file__).parents[2] / "examples"
START = 1_772_323_200_000
"""1 March 2026: the clocks change on the way."""
KEPT = ("name", "version", "class", "freshness_ms", "on_unknown", "last")
"""Of a compiled template, what deciding looks at."""

Call = dict[str, Any]
Document = dict[str, Any]


class Recorder:
    """``documents``: the plans, published at even distances.  ``calls``: what people do, one after the other."""

    def __init__(self, seed: int, documents: list[Document], calls: Iterator[Call], days: int) -> None:
        self.chance = random.Random(seed)
        self.store, self.clock = MemoryStore(), ManualClock(START)
        self.crank = Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)
        self.documents, self.calls, self.days = documents, calls, days
        self.sent: list[str] = []
        self.late: list[tuple[int, Call]] = []
        self.made = 0
        self.crank.publish(documents[0])
        self.mailer = SimMailer(self.crank.mailer(16))

    def run(self, count: int) -> History:
        """So many calls, and what follows from them."""
        for number in range(count):
            if number and number % (count // len(self.documents)) == 0 and len(self.documents) > 1:
                self.crank.publish(self.documents[number * len(self.documents) // count])
            self._pass_time(int(self.chance.expovariate(count / (self.days * DAY))))
            self._arrive(next(self.calls))
            self._else()
        return self._history()

    def _pass_time(self, ms: int) -> None:
        until = self.clock.at + ms
        while (at := self.crank.next_at()) is not None and at <= until:
            self.clock.at = at
            while self.crank.wake():
                pass
            self._outside()
        self.clock.at = until
        self.crank.sweep(3)
        self._outside()

    def _outside(self) -> None:
        """Servers answer and mail leaves, not always at once."""
        for row in self.crank.requests():
            ok = self.chance.random() < 0.7
            self.crank.answer(row, Answer(row.request_id, ok, 200 if ok else 404, {"score": 7} if ok else None))
        for _ in range(self.chance.choice((0, 0, 0, 1, 4))):
            self.crank.offer()
            self.mailer.act(self.crank, self.clock, self, self.chance)

    def taken(self, message_id: str) -> None:
        """The receiver took it (what :class:`SimMailer` tells its watch)."""
        self.sent.append(message_id)

    def _arrive(self, call: Call) -> None:
        self.made += 1
        call = {**call, "messageId": f"e{self.made}"}
        if self.chance.random() < 0.04:
            self.late.append((self.clock.at + self.chance.randrange(5 * DAY), {**call, "timestamp": self.clock.at}))
            return
        self._send(call)
        if self.chance.random() < 0.02:
            self._send(call)
        for at, kept in [one for one in self.late if one[0] <= self.clock.at]:
            self.late.remove((at, kept))
            self._send(kept)

    def _send(self, call: Call) -> None:
        arrival = decode_call(call["type"], msgspec.json.encode(call), self.clock.at, lambda: "")
        (result,) = self.crank.collect([arrival])
        assert result.status in ("accepted", "duplicate"), result

    def _else(self) -> None:
        """What others do: readers, administrators, backends."""
        chance, now = self.chance, self.clock.at
        keys = [key for key in self.store.keys(limit=10_000) if key.startswith("u:")]
        if self.sent and chance.random() < 0.08:
            kinds = ("opened", "clicked", "delivered", "unsubscribed", "bounced", "complained")
            (kind,) = chance.choices(kinds, (30, 40, 20, 10, 3, 3))
            self.crank.feedback([Outcome(chance.choice(self.sent), kind, now, machine=chance.random() < 0.2)])
        if chance.random() < 0.03 and (addresses := self.store.emails()):
            topic = chance.choice(("offers", "news", "!bounce", "!complaint"))
            given = topic.startswith("!") or chance.random() < 0.6
            self.crank.change_ledger([LedgerRow(chance.choice(addresses), topic, given, now)])
        if chance.random() < 0.01 and keys:
            self.crank.change_lists([(chance.choice(keys), ListChange("friends", chance.random() < 0.7, now))])
        if chance.random() < 0.02 and keys and "asked" in self.crank.plan.journeys:
            self.crank.enter(chance.choice(keys), "asked", Event(f"a{now}", "track", API_ENTRY, now))

    def _history(self) -> History:
        documents = [(version, row) for version, _ in self.store.plans() if (row := self.store.plan(version))]
        log = [encode_record(record) for _, record in self.store.log(limit=10**7)]
        history = History([(version, row.document) for version, row in documents], log, [], {})
        history.decided, history.states = replay(history)
        return history


class Letters(Recorder):
    """Beside everything else, letters go out to some or to all, and are paused, resumed and cancelled."""

    def _else(self) -> None:
        super()._else()
        chance = self.chance
        if chance.random() < 0.08:
            with contextlib.suppress(BroadcastRefused):  # nobody is on the list yet
                self.crank.create_broadcast({**letters.written(chance, self), "id": f"letter-{self.made}"})
        if chance.random() < 0.03 and (rows := self.store.broadcasts(3)[0]):
            with contextlib.suppress(BroadcastRefused):
                self.crank.move_broadcast(chance.choice(rows).broadcast_id, chance.choice(letters.MOVES))

    def _outside(self) -> None:
        self.crank.broadcast(6)
        super()._outside()


# -- the four worlds --


def slim(folder: Path) -> Document:
    """The plan document of an example, its templates without their words."""
    report = check_project(folder, {})
    assert report.ok, report.errors
    document = report.document
    document["templates"] = {name: {field: one[field] for field in KEPT} for name, one in document["templates"].items()}
    document["schemas"] = {}
    return document


def edited(document: Document, edit: Callable[[Document], None]) -> Document:
    copy = msgspec.json.decode(msgspec.json.encode(document))
    edit(copy)
    return copy


def shop_history() -> History:
    first = slim(EXAMPLES / "shop")

    def wait_longer(document: Document) -> None:
        cart = document["journeys"]["cart-recovery"]
        cart["steps"][0] = {"wait": "PT45M"}
        cart["holdout"] = "20%"

    def under_pressure(document: Document) -> None:
        wait_longer(document)
        document["policies"] |= {
            "caps": [{"max": 1, "per": "P1D", "when_exceeded": "defer", "defer_for": "P2D"}],
            "quiet_hours": {"from": "21:00", "to": "08:00", "timezone": "person"},
        }

    plans_ = [first, edited(first, wait_longer), edited(first, under_pressure)]
    shop.CART_PER_VIEW, shop.ORDER_PER_VIEW = 0.3, 0.1  # the same shop, but a history is to be short
    return Recorder(1, plans_, iter(shop.Shop(1, 12)), days=60).run(900)


def exact_calls(chance: random.Random) -> Iterator[Call]:
    names = ("Trial Started", "Report Created", "Subscription Started", "Subscription Cancelled", "Order Completed",
             "Plan Upgraded")  # fmt: skip
    for who in range(6):
        yield {"type": "identify", "userId": f"p{who}", "traits": {"email": f"p{who}@x.test", "plan": "free"}}
    while True:
        who = chance.randrange(6)
        if chance.random() < 0.1:
            plan = chance.choice(("free", "paid"))
            yield {"type": "identify", "userId": f"p{who}", "anonymousId": f"b{who}", "traits": {"plan": plan}}
        elif chance.random() < 0.1:
            yield {"type": "track", "anonymousId": f"b{who}", "event": "Order Completed"}
        else:
            properties = {"trial_id": f"t{chance.randrange(3)}"}
            yield {"type": "track", "userId": f"p{who}", "event": chance.choice(names), "properties": properties}


def exact_history() -> History:
    first = slim(EXAMPLES / "exact")

    def shorter(document: Document) -> None:
        document["journeys"]["renewal"]["steps"][0] = {"wait": "P20D"}
        document["segments"]["buying"]["if"]["did"]["within"] = "P20D"

    return Recorder(2, [first, edited(first, shorter)], exact_calls(random.Random(2)), days=150).run(400)


def feature_calls(chance: random.Random) -> Iterator[Call]:
    people = People(chance)
    while True:
        for sent in people.calls(START):
            call: Call = msgspec.json.decode(sent.arrival.raw)
            call.pop("timestamp", None)
            yield call


def features_history() -> History:
    chance = random.Random(3)
    documents = [plans.document(list(plans.FEATURES), chance) for _ in range(3)]
    return Recorder(3, documents, feature_calls(chance), days=50).run(500)


def broadcasts_history() -> History:
    chance = random.Random(4)
    documents = [plans.document(list(plans.FEATURES), chance) for _ in range(2)]
    return Letters(4, documents, feature_calls(chance), days=8).run(300)


HISTORIES: dict[str, Callable[[], History]] = {
    "broadcasts": broadcasts_history,
    "exact": exact_history,
    "features": features_history,
    "shop": shop_history,
}


def main(names: Sequence[str]) -> None:
    for name in names or HISTORIES:
        history = HISTORIES[name]()
        size = save(history, name)
        sys.stdout.write(f"{name}: {len(history.log):,} records, {size:,} bytes\n")


if __name__ == "__main__":
    main(sys.argv[1:])
