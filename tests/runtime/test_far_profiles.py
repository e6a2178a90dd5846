"""What a worker puts into the cache of profiles is what the next render reads there."""

import msgspec

from heliograph.adapters.memory import SharedMemoryStore
from heliograph.adapters.memory.cache import MemoryProfiles
from heliograph.adapters.schema import JsonSchema
from heliograph.decide import encode_state, new_state
from heliograph.decide.decided import Decided
from heliograph.events.record import Record, Wake
from heliograph.ports import Commit, PlanRow
from heliograph.runtime.caching import keep_profiles
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.far_chunk import FarChunk
from heliograph.runtime.far_desk import FarDesk
from tests.runtime.harness import T0, shop


def blob(last_t: int) -> bytes:
    state = new_state("u:ann")
    state.last_t = last_t
    return encode_state(state)


def test_a_chunk_that_is_decided_while_another_is_written_is_not_hidden_by_it() -> None:
    """Else the cache would keep the older blob under the newer number: a mail whose run it lacks would be cancelled."""
    store = SharedMemoryStore()
    store.commit(Commit(plan=PlanRow(1, msgspec.json.encode(shop()), T0)))
    desk, clock, cache = FarDesk(store, JsonSchema, partitions=4), ManualClock(T0), MemoryProfiles()
    chunks = []
    for number in (1, 2):
        chunk = FarChunk(desk, clock)
        chunk.carry(Decided(Record("u:ann", f"w{number}", T0, 1, Wake()), [], blob(T0 + number), None, number))
        chunks.append(chunk)
        if number == 1:
            desk.seal()
    for chunk in chunks:
        keep_profiles(cache, chunk)
    assert cache.get({"u:ann": 0}) == {"u:ann": blob(T0 + 2)}
