"""Connections are shared by receivers and their sites: limits always hold, and nobody waits for ever."""

import asyncio
import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from heliograph.adapters.smtp.direct import Direct
from heliograph.adapters.smtp.quota import Capacity, Quota, Seat
from heliograph.deliver.routes import DIRECT, Reach
from heliograph.ports import Parcel
from tests.mail_world import world
from tests.smtp_servers import Ledger, Receiver

BODY = b"Subject: hello\r\n\r\nHello\r\n"


class Watching(Ledger):
    """Sees how many connections there are whenever something happens."""

    mail: Direct
    most = 0

    def ask(self, message_ids: Sequence[str]) -> None:
        self.most = max(self.most, self.mail.connections)
        super().ask(message_ids)


@pytest.mark.parametrize("turn", range(4))
async def test_whatever_the_limits_every_message_arrives_and_no_limit_is_passed(tmp_path: Path, turn: int) -> None:
    """Few connections, many receivers, several sites each, backlogs and trickles; a lost wake-up would hang it."""
    seed = int(os.environ.get("HELIOGRAPH_TEST_SEED", "0")) or random.randrange(10**6)
    print(f"seed {seed}")  # noqa: T201
    chance = random.Random(seed + turn)
    async with world(tmp_path) as net:
        servers = [await net.server(f"mx{n}.example", Receiver(dot_s=chance.random() / 100)) for n in range(4)]
        for n in range(12):
            net.mx(f"d{n}.example", f"10 mx{n % 4}.example.", *([f"20 mx{(n + 1) % 4}.example."] if n % 3 else []))
        reaches = {
            f"r{n}": Reach(chance.randint(0, 3), chance.choice([0.0, 50.0]), chance.randint(0, 4)) for n in range(4)
        }
        ledger = Watching(later_s=chance.choice([None, 0.001]))
        total = chance.randint(1, 6)
        mail = ledger.transport = ledger.mail = net.direct(ledger, reaches, connections=total)
        numbers = list(range(200))
        for number in numbers:
            domain = chance.randrange(12)
            mail.post(Parcel(f"m{number}", "a@b.example", f"p@d{domain}.example", BODY, DIRECT, f"r{domain % 4}"))
            if chance.random() < 0.1:
                await asyncio.sleep(0.002)
        verdicts = await ledger.settled(len(numbers), timeout_s=30)
        assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
        assert sum(len(server.accepted) for server in servers) == len(numbers)
        assert ledger.most <= total
        await mail.close(1)


async def test_the_reserve_is_for_receivers_that_have_none() -> None:
    capacity = Capacity(8)
    first, second, third, fourth = (Seat(Quota(capacity, Reach(connection_limit=20))) for _ in range(4))
    while not first.full:
        first.take()
    assert first.held == 6
    second.take()
    assert second.full and not third.full
    third.take()
    assert capacity.held == 8
    assert fourth.full, "the capacity is a bound for all"


async def test_within_a_receiver_the_reserve_is_for_sites_that_have_none() -> None:
    quota = Quota(Capacity(100), Reach(connection_limit=8))
    alone = Seat(quota)
    quota.seats[alone] = None
    while not alone.full:
        alone.take()
    assert alone.held == 8, "one site has all of it"
    alone.give_back()
    alone.give_back()
    quota.seats[other := Seat(quota)] = None
    assert alone.full and not other.full


async def test_a_rate_lets_a_second_of_it_through_at_once() -> None:
    seat = Seat(Quota(Capacity(100), Reach(connections_per_s=4)))
    while not seat.full:
        seat.take()
    assert seat.held == 4
    assert 0 < seat.quota.wait_s <= 0.25
    slow = Quota(Capacity(100), Reach(connections_per_s=0.1))
    slow.take()
    assert 9 < slow.wait_s <= 10


async def test_who_has_more_than_another_who_waits_is_crowded() -> None:
    capacity = Capacity(4)
    rich, poor = Seat(Quota(capacity, Reach())), Seat(Quota(capacity, Reach()))
    for _ in range(3):
        rich.take()
    poor.take()
    assert not rich.crowded
    poor.want()
    assert rich.crowded and rich.wanted and not poor.wanted
    rich.give_back()
    assert not capacity.wanting, "who waited looks again"
