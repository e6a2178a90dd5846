"""A recorded log to hold several runtimes against each other: the shop's visitors and the real purchases, with every
record and hop that came of them, outcomes of mail, wake-ups, words of consent and a plan that changes on the way.

It is made by the embedded engine over RocksDB, turned by hand; each record lies in the file as it stands in the log
(length u32, bytes).  The same seed gives the same calls.
"""

import csv
import random
import struct
from collections import defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

from heliograph import project, render
from heliograph.adapters.rocksdb import RocksStore
from heliograph.adapters.schema import JsonSchema
from heliograph.events.decode import decode_call
from heliograph.events.ids import make_id
from heliograph.events.record import LedgerRow, Outcome, encode_record
from heliograph.ports import Commit
from heliograph.runtime import mailwire
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.simulate.shop import Shop

SHOP = Path(__file__).parents[1] / "examples" / "shop"
PURCHASES = Path(__file__).parents[2] / "shared" / "data" / "online_retail.csv"
BEGIN = 1_790_000_000_000
LASTS_MS = 5 * 86_400_000
"""Five days, so that reminders come due, windows slide and runs end."""
BATCH = 50
PROFILES_PER_EVENT = 1 / 40
OPENED, CLICKED, STOPPED = 0.3, 0.1, 0.02
"""Of the mails that were sent."""
_LENGTH = struct.Struct(">I")


class Recording(msgspec.Struct):
    """``plans``: (version, document) as they came into force; ``records``: how many are in ``log``."""

    seed: int
    plans: list[tuple[int, bytes]]
    log: Path
    records: int

    def __iter__(self) -> Iterator[bytes]:
        with self.log.open("rb") as file:
            while head := file.read(_LENGTH.size):
                yield file.read(_LENGTH.unpack(head)[0])


class _Taped(RocksStore):
    """Writes every record to the tape, too; never synced: it is gone after the recording anyway."""

    tape: BinaryIO
    records = 0

    def commit(self, commit: Commit, *, sync: bool = True) -> None:
        super().commit(commit, sync=False)
        for _, record in commit.log:
            data = encode_record(record)
            self.tape.write(_LENGTH.pack(len(data)) + data)
        self.records += len(commit.log)


class Recorder:
    """Turns the engine while calls come in, mail goes out and people answer."""

    def __init__(self, store: _Taped, seed: int, events: int) -> None:
        self.chance = random.Random(seed)
        self.clock = ManualClock(BEGIN)
        self.store = store
        self.crank = Crank(store, self.clock, compile_schema=JsonSchema, load_template=render.load)
        self.events = events
        self.shop = iter(Shop(seed, max(100, int(events * PROFILES_PER_EVENT))))
        self.plans: list[tuple[int, bytes]] = []

    def publish(self, document: dict[str, Any]) -> None:
        self.crank.publish(document)
        row = self.store.plan()
        assert row is not None
        self.plans.append((row.version, row.document))
        while self.crank.sweep():
            pass

    def play(self) -> None:
        document, _ = project.plan_document(SHOP)
        self.publish(document)
        self.hand = self.crank.mailer(1_000)
        orders = list(purchases())
        for number in range(0, self.events, BATCH):
            self.pass_time(LASTS_MS * BATCH // self.events)
            calls = [next(self.shop) for _ in range(BATCH)]
            share = len(orders) * BATCH // self.events + 1
            calls += [orders.pop() for _ in range(min(share, len(orders)))]
            self.collect(calls)
            if number <= self.events // 2 < number + BATCH:
                self.publish(changed(document))
        self.collect(orders)
        self.pass_time(LASTS_MS)

    def collect(self, calls: list[dict[str, Any]]) -> None:
        now = self.clock.now()
        arrivals = [
            decode_call(call["type"], msgspec.json.encode(call), now, lambda: make_id("recorded", self.chance.random()))
            for call in calls
        ]
        self.crank.collect(arrivals)
        self.mail()

    def pass_time(self, ms: int) -> None:
        until = self.clock.at + ms
        while (at := self.crank.next_at()) is not None and at <= until:
            self.clock.at = at
            self.crank.wake()
            self.mail()
        self.clock.at = until
        self.crank.wake()

    def mail(self) -> None:
        """Everything that may go goes at once; some of it is read, some of it is too much."""
        while self.crank.offer():
            jobs = [job for one in self.hand.heard if isinstance(one, mailwire.Offer) for job in one.jobs]
            self.hand.heard.clear()
            for begin in range(0, len(jobs), 50):
                self._send(jobs[begin : begin + 50])

    def _send(self, jobs: list[mailwire.Job]) -> None:
        now, dispatcher = self.clock.now(), self.crank.dispatcher
        dispatcher.hear(self.hand, mailwire.AskCommit(self.hand.epoch, [job.message_id for job in jobs]))
        said = [one for one in self.hand.heard if isinstance(one, mailwire.Verdicts)]
        self.hand.heard.clear()
        sent = [message_id for one in said for message_id in one.go]
        done = [mailwire.Done(message_id, "sent", "250 ok", now) for message_id in sent]
        done += [mailwire.Done(name, "stopped", why, now) for one in said for name, why in one.stop]
        dispatcher.hear(self.hand, mailwire.Report(self.hand.epoch, done))
        for job in jobs:
            if job.message_id in sent:
                self._answer(job)

    def _answer(self, job: mailwire.Job) -> None:
        now, draw = self.clock.now(), self.chance.random()
        kinds = [kind for kind, share in (("opened", OPENED), ("clicked", CLICKED)) if draw < share]
        self.crank.feedback([Outcome(job.message_id, kind, now) for kind in kinds])
        if draw > 1 - STOPPED:
            self.crank.change_ledger([LedgerRow(job.address, "offers", False, now, "page")])


def changed(document: dict[str, Any]) -> dict[str, Any]:
    """The same project with a segment more."""
    lookers = {"name": "lookers", "if": {"did": {"event": "Product Viewed", "at_least": 3, "within": "P1D"}}}
    return {**document, "segments": {**document["segments"], "lookers": lookers}}


def purchases() -> Iterator[dict[str, Any]]:
    """Every invoice of the real shop as a call; none when the data is not beside this checkout."""
    if not PURCHASES.exists():
        return
    invoices: dict[str, list[dict[str, str]]] = defaultdict(list)
    with PURCHASES.open(encoding="latin-1", newline="") as file:
        for line in csv.DictReader(file):
            invoices[line["InvoiceNo"]].append(line)
    for number, lines in invoices.items():
        yield _invoice(number, lines)


def _invoice(number: str, lines: list[dict[str, str]]) -> dict[str, Any]:
    products = [
        {"product_id": line["StockCode"], "name": line["Description"], "quantity": int(line["Quantity"]),
         "price": float(line["UnitPrice"])}
        for line in lines
    ]  # fmt: skip
    total = sum((Decimal(line["UnitPrice"]) * int(line["Quantity"]) for line in lines), Decimal(0))
    customer = lines[0]["CustomerID"]
    who: dict[str, Any] = {"anonymousId": f"guest-{number}"}
    if customer:
        traits = {"email": f"customer-{customer}@gift-shop.example"}
        who = {"userId": customer, "context": {"traits": traits}}
    event = "Order Cancelled" if number.startswith("C") else "Order Completed"
    properties = {"order_id": number, "total": float(total), "currency": "GBP", "products": products}
    return {"type": "track", "event": event, "messageId": f"invoice-{number}", "properties": properties, **who}


def record(folder: Path, events: int, seed: int) -> Recording:
    """Play it and keep the tape in ``folder``."""
    store = _Taped(folder / "store")
    log = folder / "log.bin"
    with log.open("wb") as store.tape:
        recorder = Recorder(store, seed, events)
        recorder.play()
    store.close()
    return Recording(seed, recorder.plans, log, store.records)
