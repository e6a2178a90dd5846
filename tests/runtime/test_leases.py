"""Leases: what is handed out ends before the store would give a partition to somebody else."""

import asyncio

from heliograph.adapters.memory.shared import SharedMemoryStore
from heliograph.ports import Claim
from heliograph.runtime.leases import MARGIN, Leases, leading


class Time:
    """Of two machines: the store's, and ours, which somebody may stop."""

    def __init__(self) -> None:
        self.store = self.ours = 1_000_000

    def pass_(self, ms: int) -> None:
        self.store += ms
        self.ours += ms


def leases(time: Time, store: SharedMemoryStore, owner: str) -> Leases:
    return Leases(store, owner, 10_000, steady=lambda: time.ours)


async def test_it_ends_here_before_it_ends_in_the_store() -> None:
    time = Time()
    store = SharedMemoryStore(now=lambda: time.store)
    ours = leases(time, store, "one")
    (claim,), wait_ms = await ours.claim([3])
    assert (claim.partition, claim.epoch, wait_ms) == (3, 1, 0)
    assert ours.until == time.ours + 10_000 * (1 - MARGIN) < claim.lease_until
    time.pass_(9_000)
    assert ours.left_ms() == 0
    assert await ours.renew() == []
    assert ours.left_ms() == 9_000


async def test_who_takes_over_learns_how_long_the_former_one_may_still_write() -> None:
    time = Time()
    store = SharedMemoryStore(now=lambda: time.store)
    one, two = leases(time, store, "one"), leases(time, store, "two")
    await one.claim([1, 2])
    time.pass_(4_000)
    _, wait_ms = await two.claim([2])
    assert wait_ms == 6_000
    assert time.ours + wait_ms >= one.until
    assert await one.renew() == [2]
    assert one.epochs == {1: 1} and two.epochs == {2: 2}


async def test_what_was_released_need_not_be_waited_for() -> None:
    time = Time()
    store = SharedMemoryStore(now=lambda: time.store)
    one, two = leases(time, store, "one"), leases(time, store, "two")
    await one.claim([1])
    await one.release(dict(one.epochs))
    assert (await two.claim([1]))[1] == 0
    assert store.claims() == [Claim(1, "two", 2, time.store + 10_000)]


async def test_a_claim_does_not_lengthen_what_was_not_renewed() -> None:
    """Partition 1 may be somebody else's by now, and that one waits only for our old end."""
    time = Time()
    ours = leases(time, SharedMemoryStore(now=lambda: time.store), "one")
    await ours.claim([1])
    end = ours.until
    time.pass_(5_000)
    await ours.claim([2])
    assert ours.until == end


async def test_a_job_that_swallows_a_cancellation_ends_all_the_same() -> None:
    swallowed, begun = 0, asyncio.Event()

    async def job() -> None:
        nonlocal swallowed
        begun.set()
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 1:
                    raise

    leader = asyncio.create_task(leading(SharedMemoryStore(), "one", "job", 60_000, job))
    async with asyncio.timeout(30):
        await begun.wait()
        leader.cancel()
        await asyncio.gather(leader, return_exceptions=True)
    assert swallowed == 2
