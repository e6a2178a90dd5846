"""The pool: commit points, bounds, pipelining, draining."""

import asyncio
import shutil
import socket
from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from heliograph.adapters.smtp import Limits, Pool, Relay, parse_url
from heliograph.ports import Parcel, Verdict
from tests.ports import free_port
from tests.smtp_servers import STALL, Ledger, Receiver, listening

LIMITS = Limits(connections=2, connect_s=2, quit_s=0.2, backoff_first_s=0.05)
BODY = b"Subject: hello\r\n\r\nHello\r\n"


def parcel(number: int) -> Parcel:
    return Parcel(f"m{number}", "shop@shop.example", f"p{number}@people.example", BODY)


def pool_to(receiver: Receiver, ledger: Ledger, limits: Limits = LIMITS) -> Pool:
    pool = ledger.transport = Pool(parse_url(receiver.url), ledger, limits)
    return pool


class Counting(Ledger):
    """Also knows how many were past their commit point without a verdict, at most."""

    most = 0
    gone = 0

    def _answer(self, message_ids: Sequence[str]) -> None:
        self.gone += len([one for one in message_ids if one not in self.stop])
        self.most = max(self.most, self.gone - len(self.verdicts))
        super()._answer(message_ids)


@pytest.mark.parametrize("offers", [(), ("PIPELINING",)], ids=["lock-step", "pipelining"])
async def test_at_most_two_for_each_connection_are_past_their_commit_point(offers: tuple[str, ...]) -> None:
    async with listening(Receiver(offers=offers, dot_s=0.005)) as receiver:
        ledger = Counting(later_s=0.001)
        pool = pool_to(receiver, ledger)
        for number in range(60):
            pool.post(parcel(number))
        await ledger.settled(60)
        assert ledger.most <= 2 * LIMITS.connections
        assert receiver.connections == 2
        await pool.close(1)


async def test_what_is_stopped_at_its_commit_point_leaves_no_trace_on_the_wire() -> None:
    async with listening(Receiver()) as receiver:
        ledger = Ledger(stop=["m1", "m3"])
        pool = pool_to(receiver, ledger)
        for number in range(5):
            pool.post(parcel(number))
        await ledger.settled(3)
        await pool.close(1)
    assert sorted(mail.recipients[0][:2] for mail in receiver.mails) == ["p0", "p2", "p4"]
    assert not any("p1@" in command or "p3@" in command for command in receiver.commands)


async def test_commit_points_are_passed_in_batches_one_at_a_time() -> None:
    async with listening(Receiver()) as receiver:
        ledger = Ledger(later_s=0.2)
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=100, commit=50))
        for number in range(100):
            pool.post(parcel(number))
        await ledger.settled(100)
        await pool.close(1)
    assert max(len(asked) for asked in ledger.asked) <= 50
    assert len(ledger.asked) < 20


async def test_a_slow_receiver_gets_more_connections_before_anything_is_queued_behind() -> None:
    async with listening(Receiver(dot_s=0.1)) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=10))
        for number in range(10):
            pool.post(parcel(number))
        await ledger.settled(10)
        assert receiver.connections == 10
        await pool.close(1)


async def test_over_one_connection_messages_arrive_in_order() -> None:
    """Replies are matched in order, however envelopes and bodies share their packets."""
    async with listening(Receiver(dot_s=0.002)) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=1))
        for number in range(20):
            pool.post(parcel(number))
        await ledger.settled(20)
        await pool.close(1)
    assert receiver.commands[-1] == "QUIT"
    assert [mail.recipients[0] for mail in receiver.mails] == [f"p{number}@people.example" for number in range(20)]


async def test_a_connection_retires_after_its_share() -> None:
    async with listening(Receiver()) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=1, messages_per_connection=4))
        for number in range(10):
            pool.post(parcel(number))
        verdicts = await ledger.settled(10)
        await pool.close(1)
    assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
    assert receiver.connections == 3
    assert receiver.commands.count("QUIT") == 3


async def test_an_idle_connection_says_quit() -> None:
    async with listening(Receiver()) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, idle_s=0.05))
        pool.post(parcel(0))
        await ledger.settled(1)
        await receiver.until(lambda: not pool.connections and receiver.commands[-1] == "QUIT")
        await pool.close(1)


async def test_while_the_relay_is_away_messages_come_back_with_the_reason_and_later_they_go() -> None:
    port = free_port()
    ledger = Ledger()
    pool = ledger.transport = Pool(Relay("127.0.0.1", port), ledger, LIMITS)
    pool.post(parcel(0))
    verdicts = await ledger.settled(1)
    assert verdicts["m0"] == Verdict(
        "retry", 0, "", f"127.0.0.1:{port}: nothing listens there (connection refused)", "connect"
    )
    assert not ledger.asked, "nothing passes its commit point while there is no connection"
    receiver = Receiver()
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", port)
    pool.post(parcel(1))
    await ledger.settled(2)
    assert ledger.verdicts["m1"].kind == "sent"
    await pool.close(1)
    server.close()


async def test_closing_finishes_what_may_go_and_drops_what_was_never_asked() -> None:
    async with listening(Receiver(dot_s=0.05)) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=1))
        for number in range(10):
            pool.post(parcel(number))
        await ledger.settled(1)
        await pool.close(2)
    assert len(ledger.verdicts) == sum(len(asked) for asked in ledger.asked) < 10
    assert {verdict.kind for verdict in ledger.verdicts.values()} == {"sent"}


async def test_closing_cuts_off_after_its_grace_and_says_unknown() -> None:
    async with listening(Receiver(dot_s=30)) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger, replace(LIMITS, connections=1))
        for number in range(3):
            pool.post(parcel(number))
        await receiver.until(lambda: receiver.mails)
        await pool.close(0.1)
    assert sorted(verdict.kind for verdict in ledger.verdicts.values()) == ["retry", "unknown"]


async def test_attempts_that_fail_together_still_tell_everybody_who_waits() -> None:
    """Uvloop's resolver and a refusing kernel end several attempts in one turn of the loop."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"smtp://127.0.0.1:{taken.getsockname()[1]}"
        ledger = Ledger()
        pool = ledger.transport = Pool(parse_url(url), ledger, replace(LIMITS, connections=20))
        for number in range(8):
            pool.post(parcel(number))
        await ledger.settled(8)
        await pool.close(1)
    assert {verdict.kind for verdict in ledger.verdicts.values()} == {"retry"}


async def test_an_address_that_smtp_cannot_carry_is_refused_here() -> None:
    async with listening(Receiver()) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger)
        pool.post(Parcel("m0", "shop@shop.example", "a@b.example>\r\nRCPT TO:<c@d.example", BODY))
        pool.post(parcel(1))
        await ledger.settled(2)
        await pool.close(1)
    assert (ledger.verdicts["m0"].kind, ledger.verdicts["m0"].enhanced) == ("bounced", "5.1.3")
    assert [mail.recipients for mail in receiver.mails] == [["p1@people.example"]]


async def test_postfix_smtp_sink_takes_everything() -> None:
    sink = shutil.which("smtp-sink", path="/usr/sbin:/usr/bin")
    if sink is None:
        pytest.skip("no smtp-sink: apt-get install postfix")
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        sink, "-u", "nobody", f"127.0.0.1:{port}", "100", stderr=asyncio.subprocess.DEVNULL
    )
    try:
        ledger = Ledger()
        pool = ledger.transport = Pool(Relay("127.0.0.1", port), ledger, replace(LIMITS, connections=5))
        await _until_it_listens(port)
        for number in range(500):
            pool.post(parcel(number))
        verdicts = await ledger.settled(500)
        assert {verdict.kind for verdict in verdicts.values()} == {"sent"}
        await pool.close(1)
    finally:
        process.kill()
        await process.wait()


async def _until_it_listens(port: int) -> None:
    for _ in range(1000):
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await asyncio.sleep(0.02)
        else:
            writer.close()
            await writer.wait_closed()
            return


async def test_closing_while_connecting_leaves_nothing_behind() -> None:
    async with listening(Receiver(rules={"greeting": STALL})) as receiver:
        ledger = Ledger()
        pool = pool_to(receiver, ledger)
        pool.post(parcel(0))
        await receiver.until(lambda: receiver.connections)
        await pool.close(0.1)
    assert not ledger.verdicts and not ledger.asked
