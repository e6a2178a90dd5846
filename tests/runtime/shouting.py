"""What tests of broadcasts share: a shop with people, turned by hand, and a mailer that does what it is told."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.record import ListChange
from heliograph.ports import BroadcastRow, MessageRow, Store
from heliograph.runtime import counting, mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from tests.runtime.harness import T0, identify, shop, template


def document(**parts: Any) -> dict[str, Any]:
    return {"name": "October news", "template": "news", "audience": {"everyone": True}, **parts}


def plan(**parts: Any) -> dict[str, Any]:
    written = shop(**parts)
    alert = template("alert", **{"class": "transactional"})
    written["templates"] = {**written["templates"], "news": template("news"), "alert": alert}
    return written


class Town:
    """A store, its clock, and the runtime turned by hand; :meth:`restart` is a new process over the same store."""

    def __init__(self, store: Store | None = None, written: dict[str, Any] | None = None) -> None:
        self.store = store if store is not None else MemoryStore()
        self.clock = ManualClock(T0)
        self.crank = self._crank()
        if self.store.plan() is None:
            self.crank.publish(written or plan())
        self.mailer = self.crank.mailer(100_000)

    def _crank(self) -> Crank:
        return Crank(self.store, self.clock, compile_schema=JsonSchema, load_template=lambda _: None)

    def restart(self) -> None:
        self.crank = self._crank()
        self.crank.recover()
        self.mailer = self.crank.mailer(100_000)

    # -- people --

    def settle(self, *names: str, **traits: Any) -> None:
        """People with an address of their own."""
        self.crank.collect([identify(name, email=f"{name}@x.test", **traits) for name in names])

    def settle_many(self, count: int, **traits: Any) -> list[str]:
        names = [f"p{number}" for number in range(count)]
        self.settle(*names, **traits)
        return names

    def put_on_list(self, name: str, people: Iterable[str]) -> None:
        self.crank.change_lists([(f"u:{one}", ListChange(name, True, T0)) for one in people])

    # -- broadcasts --

    def start(self, **parts: Any) -> str:
        return self.crank.create_broadcast(document(**parts)).broadcast_id

    def row(self, broadcast_id: str) -> BroadcastRow:
        row = self.store.broadcast(broadcast_id)
        assert row is not None
        return row

    def walk(self, portion: int = 512) -> None:
        """Let broadcasts do all they can without a mailer."""
        while self.crank.broadcast(portion):
            pass

    def run(self, portion: int = 512) -> None:
        """Offer and send until nothing more can be done now."""
        while self.crank.broadcast(portion) or self.mail():
            pass

    def mail(self) -> int:
        """Send what a mailer is offered; how many."""
        sent = 0
        while self.crank.offer() or self.mailer.heard:
            sent += self._serve()
        return sent

    def _serve(self) -> int:
        offered = [one for one in self.mailer.heard if isinstance(one, mailwire.Offer)]
        self.mailer.heard.clear()
        ids = [job.message_id for one in offered for job in one.jobs]
        if not ids:
            return 0
        go, stop = self.ask(ids)
        self.report(go, "sent")
        self.report(stop, "stopped")
        return len(go)

    def ask(self, ids: list[str]) -> tuple[list[str], list[str]]:
        """For the commit point: those that may go, those that may not."""
        self.crank.dispatcher.hear(self.mailer, mailwire.AskCommit(self.mailer.epoch, ids))
        (verdicts,) = [one for one in self.mailer.heard if isinstance(one, mailwire.Verdicts)]
        self.mailer.heard.remove(verdicts)
        return verdicts.go, [message_id for message_id, _ in verdicts.stop]

    def report(self, ids: Iterable[str], kind: str) -> None:
        done = [mailwire.Done(one, kind, kind, self.clock.now()) for one in ids]
        if done:
            self.crank.dispatcher.hear(self.mailer, mailwire.Report(self.mailer.epoch, done))

    # -- what there is --

    def rows(self, broadcast_id: str) -> list[MessageRow]:
        found = self.store.messages(limit=1_000_000)[0]
        return [row for row in found if row.journey == f"broadcast:{broadcast_id}"]

    def check(self, broadcast_id: str) -> None:
        """Law: what the row counts is what the ledger and the journal hold."""
        row, rows = self.row(broadcast_id), self.rows(broadcast_id)
        assert row.messages == Counter(one.status for one in rows)
        skipped = Counter(one.reason for one in rows if one.status == "skipped")
        assert Counter(row.skipped) - Counter(same_address=row.skipped.get("same_address", 0)) == skipped
        addresses = Counter(one.address for one in rows if one.address)
        assert set(addresses.values()) <= {1}, "an address has two messages of one broadcast"
        people, name = row.people, f"broadcast:{broadcast_id}"
        facts = [fact for key in self.store.keys(limit=1_000_000) for fact in self.store.journal(key, 1_000_000)]
        told = Counter(fact.kind for fact in facts if fact.data.get("journey") == name)
        assert people.get("entered", 0) == told["run_started"]
        assert people.get("active", 0) == told["run_started"] - told["run_ended"]
        refused = sum(row.refused.values()) + people.get("held_out", 0)
        assert refused == told["run_refused"]
        assert row.offered == people.get("entered", 0) + refused
        assert counting.progress(row)["people"]["waiting"] >= 0
