"""The collector of several machines: judged as on one, stamped, in the log before it is answered."""

import threading
from collections.abc import Sequence

import msgspec
import pytest

from heliograph import decide
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.memory.stream import MemoryBroker, MemoryStream
from heliograph.adapters.schema import JsonSchema
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_of
from heliograph.events.record import HISTORICAL, EventBody, LedgerRow, Record, decode_record
from heliograph.ports import Arrival, Busy, Commit, DeadLetter, StoreAway, Taken
from heliograph.ports.stream import DEAD_LETTERS, RECORDS
from heliograph.runtime import edge
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Published
from heliograph.runtime.edge import Edge, Words
from heliograph.runtime.funnel import Funnel
from heliograph.runtime.meter import Meter
from heliograph.runtime.places import HERE, places_in
from tests.runtime.harness import T0, call, identify, shop

SCHEMAS = {"Order Completed": {"type": "object", "required": ["order_id"]}}
PLAN = 7


class World:
    def __init__(self, store: MemoryStore | None = None) -> None:
        self.broker = MemoryBroker(partitions=4)
        self.store = store or MemoryStore()
        self.clock, self.meter = ManualClock(T0), Meter()
        self.words = Words(self.store, self.meter, within_s=30)
        funnel = Funnel(MemoryStream(self.broker).appender(), None, self.meter)
        self.published: Published | None = Published(decide.compile_plan(shop(schemas=SCHEMAS), PLAN), JsonSchema)
        self.edge = Edge(funnel, self.clock, self.meter, lambda: self.published)
        self.edge.words = self.words

    async def collect(self, *arrivals: Arrival) -> Taken:
        taken = await self.edge.collect(arrivals)
        assert isinstance(taken, Taken)
        return taken

    def records(self) -> list[Record]:
        parts = self.broker.topics[RECORDS]
        return [decode_record(entry.value) for part in parts for entry in part]

    def letters(self) -> list[DeadLetter]:
        parts = self.broker.topics[DEAD_LETTERS]
        return [msgspec.msgpack.decode(entry.value, type=DeadLetter) for part in parts for entry in part]


async def test_an_event_is_in_the_log_as_it_was_stamped_before_it_is_answered() -> None:
    world = World()
    arrival = call("Product Viewed", at=T0 - 5)
    (result,) = taken = await world.collect(arrival)
    (record,) = world.records()
    assert (result.status, taken.durable) == ("accepted", "log")
    assert (record.key, record.id, record.received_at, record.plan_version) == ("u:ann", arrival.message_id, T0, PLAN)
    assert isinstance(record.body, EventBody) and record.body.event == arrival.event
    assert places_in(taken.position or "") == [("u:ann", arrival.message_id)]


async def test_a_person_has_one_partition_and_keeps_their_order() -> None:
    world = World()
    arrivals = [call("Product Viewed", f"p{number % 5}") for number in range(50)]
    await world.collect(*arrivals)
    for number, part in enumerate(world.broker.topics[RECORDS]):
        records = [decode_record(entry.value) for entry in part]
        assert all(partition_of(bucket(record.key), 4) == number for record in records)
        for key in {record.key for record in records}:
            mine = [arrival.message_id for arrival in arrivals if f"u:{arrival.event.user_id}" == key]  # type: ignore[union-attr]
            assert [record.id for record in records if record.key == key] == mine


async def test_nothing_occurs_after_it_was_received_and_the_stamp_never_goes_back() -> None:
    world = World()
    await world.collect(call("Product Viewed", at=T0 + 10_000))
    world.clock.at = T0 - 500
    await world.collect(call("Product Viewed", "bob"))
    stamps = {record.key: record for record in world.records()}
    assert stamps["u:ann"].body.event.occurred_at == T0  # type: ignore[union-attr]
    assert stamps["u:bob"].received_at == T0


async def test_an_import_carries_its_flag() -> None:
    world = World()
    arrival = call("Product Viewed")
    assert arrival.event is not None
    old = msgspec.structs.replace(arrival.event, context={"historical": True})
    await world.collect(msgspec.structs.replace(arrival, event=old))
    assert world.records()[0].flags & HISTORICAL


async def test_what_a_schema_rejects_is_a_dead_letter_that_is_kept_once() -> None:
    world = World()
    bad, good = call("Order Completed"), call("Order Completed", order_id="o1")
    taken = await world.collect(bad, good)
    assert [result.status for result in taken] == ["dead_letter", "accepted"]
    assert "order_id" in taken[0].reason
    await world.collect(bad)
    letters = world.letters()
    assert {letter.id for letter in letters} == {letters[0].id}
    assert (letters[0].payload, letters[0].event_name, letters[0].at) == (bad.raw, "Order Completed", T0)
    assert [record.id for record in world.records()] == [good.message_id]


async def test_what_decoding_refused_is_answered_and_leaves_nothing() -> None:
    world = World()
    taken = await world.collect(Arrival("m1", None, b"{}", "no event"))
    assert [(result.status, result.reason) for result in taken] == [("refused", "no event")]
    assert (taken.durable, taken.position, world.records()) == ("", HERE, [])


async def test_a_call_of_too_many_people_has_no_position() -> None:
    world = World()
    taken = await world.collect(*(call("Product Viewed", f"p{number}") for number in range(33)))
    assert taken.position is None


class TestWords:
    ROW = LedgerRow("ann@x.test", "offers", False, T0 - 9, "one-click")

    async def test_who_sets_an_address_brings_what_the_ledger_says_of_it(self) -> None:
        world = World()
        world.store.commit(Commit(ledger={(self.ROW.address, self.ROW.topic): self.ROW}))
        await world.collect(identify("ann", email="Ann@X.test"), call("Product Viewed", "bob"))
        rows = {record.key: record.body.rows for record in world.records()}  # type: ignore[union-attr]
        assert rows == {"u:ann": [self.ROW], "u:bob": []}

    @pytest.mark.parametrize("trouble", ["away", "slow"])
    async def test_a_ledger_that_does_not_answer_holds_nobody_up(
        self, trouble: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answers = threading.Event()

        class Troubled(MemoryStore):
            asked = 0

            def ledger(self, address: str) -> list[LedgerRow]:
                self.asked += 1
                if trouble == "away":
                    raise StoreAway("no answer")
                answers.wait(60)
                return []

        monkeypatch.setattr(edge, "RETRY_S", 60)
        store = Troubled()
        world = World(store)
        world.words._within_s = 0.2
        for number in range(20):
            taken = await world.collect(identify(f"p{number}", email=f"p{number}@x.test"))
            assert taken.durable == "log"
        assert not answers.is_set()
        assert store.asked == 1  # then it is left alone for a while
        assert all(record.body.rows == [] for record in world.records())  # type: ignore[union-attr]
        answers.set()
        world.words.close()


async def test_a_log_that_is_away_is_said_and_leaves_no_doubt_about_a_retry() -> None:
    world = World()
    world.broker.away = True
    arrivals: Sequence[Arrival] = [call("Product Viewed")]
    with pytest.raises(Busy, match="away"):
        await world.collect(*arrivals)
    world.broker.away = False
    await world.collect(*arrivals)
    assert [record.id for record in world.records()] == [arrivals[0].message_id]


async def test_without_a_plan_nothing_can_be_judged() -> None:
    world = World()
    world.published = None
    assert not world.edge.ready
    with pytest.raises(Busy, match="no plan"):
        await world.collect(call("Product Viewed"))
