"""What processes saw of mail goes round: each batch is heard once by everybody else, and nothing of before or of the
dead is."""

import msgspec

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.deliver.breaker import OTHERS, RECEIVERS
from heliograph.ports import Commit
from heliograph.runtime.breaker import Seen
from heliograph.runtime.chunk import Chunk
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.desk import Desk
from heliograph.runtime.evidence import FORGOTTEN_MS, KEPT, KEPT_MS, META, Batch, Evidence, folded
from heliograph.runtime.work import Work
from tests.runtime.harness import T0


class Process:
    def __init__(self, name: str, store: SharedMemoryStore, *, deaf: bool = False) -> None:
        self.store, self.heard, self.mono = store, list[Batch](), T0
        told = None if deaf else self.heard.append
        self.evidence = Evidence(store, name, self._put, told, steady=lambda: self.mono)

    def _put(self, work: Work) -> None:
        chunk = Chunk(Desk(self.store, JsonSchema), ManualClock(T0))
        work.decide(chunk)
        self.store.commit(chunk.commit)

    def say(self, count: int, receiver: str = "r") -> None:
        self.evidence.saw(Seen({("welcome", receiver, "sent"): count}, {("welcome", receiver, "complained", T0): 1}))
        self.evidence.warmed("default", "sent")
        self.evidence.beat()

    async def hears(self) -> list[int]:
        await self.evidence.look()
        heard = [sum(batch.seen().mails.values()) for batch in self.heard]
        self.heard.clear()
        return heard


async def test_each_batch_is_heard_once_and_by_everybody_else() -> None:
    store = SharedMemoryStore()
    one, two, collector = Process("one", store), Process("two", store), Process("api", store, deaf=True)
    assert await one.hears() == await two.hears() == []
    collector.say(1)
    one.say(2)
    one.say(3)
    assert (await one.hears(), await two.hears(), await collector.hears()) == ([1], [1, 2, 3], [])
    assert (await one.hears(), await two.hears()) == ([], [])
    collector.evidence.beat()
    one.say(4)
    await two.evidence.look()
    (batch,) = two.heard
    assert batch.seen() == Seen({("welcome", "r", "sent"): 4}, {("welcome", "r", "complained", T0): 1})
    assert batch.warmed == [("default", "sent", 1)]


async def test_what_only_a_later_program_can_read_is_left_out_and_the_rest_is_heard() -> None:
    store = SharedMemoryStore()
    one = Process("one", store)
    assert await one.hears() == []
    said = [
        [1, [["welcome", "r", "sent", 2]]],
        [2, [["welcome", "r", "telepathed", 3]]],
        [3, [["welcome", "r", "sent", 4]]],
    ]
    store.commit(Commit(meta={META + "later": msgspec.msgpack.encode(said)}))
    assert await one.hears() == [2, 4]
    store.commit(Commit(meta={META + "later": msgspec.msgpack.encode({"another": "form"})}))
    assert await one.hears() == []


async def test_what_was_said_before_a_process_began_is_not_for_it_to_judge() -> None:
    store = SharedMemoryStore()
    one = Process("one", store)
    one.say(5)
    late = Process("late", store)
    assert await late.hears() == []
    one.say(6)
    assert await late.hears() == [6]
    new = Process("new", store)
    new.say(7)
    assert await late.hears() == [7], "it came when others listened"


async def test_what_is_old_or_too_much_is_not_told_any_more() -> None:
    store = SharedMemoryStore()
    one, two = Process("one", store), Process("two", store)
    await two.hears()
    for number in range(KEPT + 2):
        one.say(number)
    assert await two.hears() == list(range(2, KEPT + 2))
    one.mono += KEPT_MS
    one.say(1)
    assert len(store.meta(META + "one") or b"") < 200


async def test_of_the_dead_nothing_stays_and_who_is_silent_only_is_heard_again() -> None:
    store = SharedMemoryStore()
    one, two = Process("one", store), Process("two", store)
    await two.hears()
    one.say(5)
    assert await two.hears() == [5]
    two.mono += FORGOTTEN_MS
    assert await two.hears() == [] and store.metas(META) == []
    assert await two.hears() == []
    one.mono += FORGOTTEN_MS
    one.say(6)
    assert await two.hears() == [6]


def test_small_receivers_are_told_together() -> None:
    mails = {("j", f"r{n}", "sent"): n + 1 for n in range(RECEIVERS + 3)}
    told = {(name, kind): count for _, name, kind, count in folded(mails | {("j", "r0", "bounced"): 9})}  # type: ignore[dict-item]
    assert told[OTHERS, "sent"] == 2 + 3 + 4 and len(told) == RECEIVERS + 2
    assert (told["r0", "sent"], told["r0", "bounced"]) == (1, 9)
