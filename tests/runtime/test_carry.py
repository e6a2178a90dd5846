"""What a brain said, on its way into the store."""

import pytest

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide.decided import VERSION, DecidedTooNew
from heliograph.ports import Entry
from heliograph.ports.stream import EFFECTS
from heliograph.runtime.far_chunk import Carry
from heliograph.runtime.far_desk import FarDesk
from heliograph.runtime.leases import Leases


@pytest.mark.parametrize(("value", "left_out"), [(bytes((VERSION + 1,)) + b"..", False), (b"garbage"[:0], True)])
async def test_what_a_newer_brain_said_is_never_left_out(value: bytes, left_out: bool) -> None:
    desk = FarDesk(SharedMemoryStore(), JsonSchema, partitions=1)
    desk.leases = Leases(desk.store, "one", 60_000)
    claims, _ = await desk.leases.claim([0])
    desk.take(claims)
    work = Carry(0, claims[0].epoch, [Entry(EFFECTS, 0, 0, b"", value)], lambda _: None)
    with pytest.raises(ValueError, match="version"):
        work.prepare(desk)
    if left_out:
        assert work.isolate()
        work.prepare(desk)
    else:
        with pytest.raises(DecidedTooNew, match="update workers"):
            work.isolate()
