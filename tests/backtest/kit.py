"""A recorded world: the runtime turned by hand over a real data folder, with mail that has fates and people who click.

Wake-ups fire at their very instants, so that the log is that of a server with nothing else to do.
"""

import heapq
import random
from pathlib import Path
from typing import Any

from heliograph.adapters.rocksdb import RocksStore, RocksView
from heliograph.adapters.schema import JsonSchema
from heliograph.backtest.job import Job, log_begins, plans_of, run_job
from heliograph.backtest.kin import find_kin
from heliograph.backtest.lane import Story, tell
from heliograph.backtest.part import Part
from heliograph.backtest.past import Reach
from heliograph.backtest.report import Report
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import Arrival, MessageRow
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.runtime.work import ROW_BYTES, Work
from tests.runtime.harness import DAY as DAY
from tests.runtime.harness import HOUR, T0, shop, template
from tests.runtime.harness import MINUTE as MINUTE

END = 1 << 50
PEOPLE = ("ann", "bob", "cyd", "dan")
CART = {
    "topic": "offers",
    "entry": {"event": "Product Added", "key": "properties.cart_id", "on_repeat": "restart"},
    "exit": [{"event": "Order Completed"}],
    "goal": {"event": "Order Completed", "within": "P1D", "value": "properties.total"},
    "holdout": "20%",
    "steps": [
        {"wait": "PT30M"},
        {"send": "cart-reminder", "id": "first", "on_failure": "exit"},
        {"wait_until": {"any": [{"event": "Email Clicked", "then": "exit"}], "timeout": "PT6H"}},
        {"branch": [{"if": {"in_segment": "buyers"}, "then": [{"send": "confirmation"}]}, {"else": "continue"}]},
        {"send": "cart-second"},
    ],
}
STAY = {**CART, "holdout": "0%"}
"""Nobody is held out."""
LOOKED_TWICE = {"did": {"event": "Product Viewed", "at_least": 2, "within": "PT30M"}}
LOOKING = {
    "topic": "news",
    "entry": {"segment": "lookers", "reentry": {"after": "PT2H"}},
    "steps": [
        {"split": {"arms": {"a": {"weight": 1, "then": [{"wait": "PT5M"}]}, "b": {"weight": 1, "then": "continue"}}}},
        {"update": {"traits": {"looked": "{{ run.entered_at }}"}}},
        {"send": "welcome"},
        {"emit": {"event": "Looked", "properties": {"by": "us"}}},
        {"wait": "PT1H"},
    ],
}
ECHO = {"entry": {"event": "Looked"}, "steps": [{"wait": "PT10M"}, {"send": "echo"}]}


def document(**parts: Any) -> dict[str, Any]:
    """Carts with a second mail, a journey by segment with every kind of step that hops, one that hears what it says."""
    whole = shop()
    names = ("cart-second", "echo")
    return {
        **whole,
        "policies": {"topics": {"offers": {"consent": "assumed"}, "news": {"consent": "assumed"}}},
        "segments": {
            **whole["segments"],
            "lookers": {"name": "lookers", "if": LOOKED_TWICE},
        },
        "journeys": {**whole["journeys"], "cart": CART, "looking": LOOKING, "echo": ECHO},
        "templates": {**whole["templates"], **{name: template(name) for name in names}},
        **parts,
    }


CAP = {"max": 1, "per": "PT3H", "topics": ["offers", "news"], "when_exceeded": "defer", "defer_for": "PT8H"}
PRESSURE = {
    "topics": {"offers": {"consent": "assumed"}, "news": {"consent": "assumed"}},
    "caps": [CAP],
    "quiet_hours": {"from": "21:00", "to": "08:00", "timezone": "project"},
}
"""Policies under which mail is put off."""
PLAIN = document(journeys={"cart": STAY})
"""One journey."""


class _End(Work):
    """A message comes to its end, as a mailer would report it."""

    size = ROW_BYTES

    def __init__(self, message_id: str, kind: str) -> None:
        self._message_id, self._kind = message_id, kind

    def decide(self, chunk: Chunk) -> None:
        row = chunk.desk.message(self._message_id)
        if row is not None and row.status == "queued":
            chunk.end_message(row, self._kind, "" if self._kind == "sent" else "said no", chunk.now())
            chunk.drain()


class World:
    """``seed`` chooses what people do and what becomes of mail."""

    def __init__(self, folder: Path, plan: dict[str, Any] | None = None, seed: int = 0) -> None:
        self.folder, self.clock = folder, ManualClock(T0)
        self.store = RocksStore(folder)
        self.chance = random.Random(seed)
        self.crank = Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)
        self.crank.publish(document() if plan is None else plan)
        self._agenda: list[tuple[int, int, Work | Outcome]] = []
        self._known: set[str] = set()
        self._count = 0

    def close(self) -> None:
        self.store.close()

    def send(self, *arrivals: Arrival) -> None:
        self.crank.collect(arrivals)
        self._notice()

    def say(self, address: str, topic: str, given: bool) -> None:
        self.crank.change_ledger([LedgerRow(address, topic, given, self.clock.now(), "page")])
        self._notice()

    def advance(self, ms: int) -> None:
        until = self.clock.now() + ms
        while (at := self._next()) <= until:
            self.clock.at = max(at, self.clock.at)
            if self._agenda and self._agenda[0][0] <= self.clock.at:
                self._happen(heapq.heappop(self._agenda)[2])
            else:
                self.crank.wake()
            self._notice()
        self.clock.at = until

    def _next(self) -> int:
        due = self.store.next_due()
        return min(END if due is None else due, self._agenda[0][0] if self._agenda else END)

    def _happen(self, what: Work | Outcome) -> None:
        if isinstance(what, Work):
            self.crank.do(what)
        else:
            row = self.store.message(what.message_id)
            if row is not None and row.status == "sent":
                self.crank.feedback([what])

    def _notice(self) -> None:
        """Whatever was queued meets its fate some seconds later."""
        rows, _ = self.store.messages(status="queued", limit=1000)
        for row in sorted(rows, key=lambda one: one.message_id):
            if row.message_id not in self._known:
                self._known.add(row.message_id)
                self._fate(row)

    def _fate(self, row: MessageRow) -> None:
        at = max(self.clock.now() + self.chance.randrange(1, 4_000), row.not_before)
        kind = "sent" if self.chance.random() < 0.9 else "bounced"
        self._put(at, _End(row.message_id, kind))
        for feedback in ("opened", "clicked"):
            if self.chance.random() < 0.5:
                at += self.chance.randrange(1, 2 * HOUR)
                self._put(at, Outcome(row.message_id, feedback, at))

    def _put(self, at: int, what: Work | Outcome) -> None:
        self._count += 1
        heapq.heappush(self._agenda, (at, self._count, what))


def stories(view: RocksView, name: str, journey: dict[str, Any], since: int = 0, until: int = END) -> list[Story]:
    """What the draft's lane decides about everybody."""
    plans = plans_of(view, name, journey)
    part = Part(view, plans, Reach(since, until, log_begins(view)), find_kin(view))
    return [tell(past, plans.draft, since, until, log_begins(view)) for past in part.pasts(range(1024)) if past.records]


def backtest(folder: Path, name: str, journey: dict[str, Any], since: int = T0 - DAY, until: int = END) -> Report:
    return run_job(Job(str(folder), name, journey, since, until), lambda _parts, _told: [], lambda _word: None)
