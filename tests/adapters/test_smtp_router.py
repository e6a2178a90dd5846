"""Several relays behind one transport: each parcel goes its way, each answer finds who asked."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
import pytest_asyncio
from msgspec.structs import replace

from heliograph.adapters.smtp import Limits, Router, transport
from heliograph.adapters.smtp.pool import Pool
from heliograph.deliver.routes import RelayRoute, Routes, single
from heliograph.ports import Parcel, Transport
from tests.smtp_servers import STALL, Ledger, Receiver, listening

QUICK = Limits(connect_s=2, greeting_s=2, command_s=2, data_s=2, dot_s=30, quit_s=0.2, backoff_first_s=0.05)


def parcel(number: int, route: str) -> Parcel:
    return Parcel(f"m{number}", "hello@shop.example", f"p{number}@people.example", b"Subject: x\r\n\r\nx\r\n", route)


class Pair:
    def __init__(self, first: Receiver, second: Receiver) -> None:
        self.first, self.second = first, second

    def open(self, ledger: Ledger, limits: Limits = QUICK, connections: int = 2) -> Transport:
        routes = (RelayRoute("a", self.first.url, connections), RelayRoute("b", self.second.url, connections))
        opened = ledger.transport = transport(Routes(routes), ledger, None, limits)
        return opened


@pytest_asyncio.fixture
async def pair() -> AsyncIterator[Pair]:
    async with listening(Receiver()) as first, listening(Receiver()) as second:
        yield Pair(first, second)


async def test_one_relay_is_a_transport_of_its_own() -> None:
    assert isinstance(transport(single("smtp://127.0.0.1:1"), Ledger()), Pool)


async def test_each_parcel_goes_its_way(pair: Pair) -> None:
    ledger = Ledger(later_s=0.001)
    mail = pair.open(ledger)
    for number in range(60):
        mail.post(parcel(number, "ab"[number % 2]))
    verdicts = await ledger.settled(60)
    assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
    assert {mail.recipients[0] for mail in pair.first.accepted} == {f"p{n}@people.example" for n in range(0, 60, 2)}
    assert len(pair.second.accepted) == 30
    await mail.close(1)


async def test_asks_of_different_relays_are_open_together_and_answered_in_any_order(pair: Pair) -> None:
    class Late(Ledger):
        def _answer(self, message_ids: Sequence[str]) -> None: ...

    ledger = Late()
    mail = pair.open(ledger, connections=1)
    for number in range(2):
        mail.post(parcel(number, "ab"[number]))
    async with asyncio.timeout(30):
        while len(ledger.asked) < 2:  # noqa: ASYNC110 (the ledger has no event for this)
            await asyncio.sleep(0.005)
    last, first = ledger.asked[1], ledger.asked[0]
    mail.decided(last, [])
    mail.decided(last, [])  # nobody's any more
    mail.decided([], first)
    verdicts = await ledger.settled(1)
    assert list(verdicts) == last
    await mail.close(1)
    assert len(pair.first.mails) + len(pair.second.mails) == 1


async def test_a_relay_that_stalls_holds_up_no_other(pair: Pair) -> None:
    pair.first.rules["dot"] = STALL
    ledger = Ledger()
    mail = pair.open(ledger)
    for number in range(40):
        mail.post(parcel(number, "a"))
    await pair.first.until(lambda: pair.first.mails)
    assert mail.room("a", "") < 0 < mail.room("b", "")
    for number in range(40, 80):
        mail.post(parcel(number, "b"))
    await ledger.settled(40)
    assert len(pair.second.accepted) == 40
    await mail.close(0)


async def test_a_route_that_is_no_more_is_a_retry_that_names_it(pair: Pair) -> None:
    ledger = Ledger()
    mail = pair.open(ledger)
    assert mail.room("gone", "") > 0
    mail.post(parcel(0, "gone"))
    verdict = (await ledger.settled(1))["m0"]
    assert (verdict.kind, verdict.stage) == ("retry", "connect")
    assert "'gone'" in verdict.reply
    await mail.close(1)


async def test_nobody_is_asked_twice_and_nothing_is_remembered_afterwards(pair: Pair) -> None:
    ledger = Ledger(stop=[f"m{n}" for n in range(0, 60, 3)])
    mail = pair.open(ledger)
    for number in range(60):
        mail.post(parcel(number, "ab"[number % 2]))
    await ledger.settled(40)
    asked = [message_id for ids in ledger.asked for message_id in ids]
    assert sorted(asked) == sorted(f"m{n}" for n in range(60))
    await mail.close(1)
    assert isinstance(mail, Router) and not mail._switch._open


@pytest.mark.parametrize(
    "routes",
    [
        single("http://relay.example"),
        Routes((RelayRoute("default", "smtp://relay.example", 1, "no certificate"),)),
    ],
    ids=["url", "ca_file"],
)
async def test_settings_that_cannot_be_used_say_so_at_once(routes: Routes) -> None:
    with pytest.raises(ValueError, match=r"SMTP url|no certificates in PEM"):
        transport(routes, Ledger())


async def test_limits_of_time_hold_on_every_route(pair: Pair) -> None:
    pair.second.rules["rcpt"] = STALL
    ledger = Ledger()
    mail = pair.open(ledger, replace(QUICK, command_s=0.1))
    mail.post(parcel(0, "b"))
    assert (await ledger.settled(1))["m0"].reply == "no answer to RCPT within 0.1 s"
    await mail.close(1)
