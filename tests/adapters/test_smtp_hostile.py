"""Whatever a receiver does: each message gets one right verdict, is never sent twice, and is ``unknown`` only after
its dot."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from msgspec.structs import replace

from heliograph.adapters.smtp import Limits, Pool, parse_url
from heliograph.ports import Parcel
from tests.smtp_servers import DROP, STALL, Ledger, Receiver, Rules, listening

LIMITS = Limits(
    connections=2, connect_s=10, greeting_s=10, command_s=10, data_s=10, dot_s=10, quit_s=0.2, backoff_first_s=0.05
)
HASTY = replace(LIMITS, greeting_s=0.3, command_s=0.3, data_s=0.3)
"""For who says nothing, or does not end what it says."""
SILENT = (STALL, b"250", b"250-and\r\n")
PLAIN = ("SIZE 10000000",)
PIPELINING = ("PIPELINING",)


def parcel(number: int, data: bytes = b"Subject: hello\r\n\r\nHello\r\n") -> Parcel:
    return Parcel(f"m{number}", "shop@shop.example", f"p{number}@people.example", data)


async def deliver(receiver: Receiver, count: int = 1, limits: Limits = LIMITS, data: bytes | None = None) -> Ledger:
    """Post so many parcels, all at once; give back their verdicts."""
    ledger = Ledger()
    async with listening(receiver):
        pool = ledger.transport = Pool(parse_url(receiver.url), ledger, limits)
        for number in range(count):
            pool.post(parcel(number, data) if data else parcel(number))
        await ledger.settled(count)
        await pool.close(1)
    return ledger


ANSWERS = {
    "refused for good": (b"550 5.1.1 no such user\r\n", "bounced", 550, "5.1.1"),
    "refused without enhanced code": (b"552 too big\r\n", "bounced", 552, ""),
    "several lines": (b"554-5.7.1 go\r\n554-5.7.1 away\r\n554 5.7.1 now\r\n", "bounced", 554, "5.7.1"),
    "later": (b"451 4.3.0 later\r\n", "retry", 451, "4.3.0"),
    "full": (b"452 4.2.2 full\r\n", "retry", 452, "4.2.2"),
    "greylisted": (b"450 4.7.1 greylisted\r\n", "retry", 450, "4.7.1"),
    "shutting down": (b"421 4.3.2 closing\r\n", "retry", 421, "4.3.2"),
}


@pytest.mark.parametrize("offers", [PLAIN, PIPELINING], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("split", [0, 1], ids=["whole", "byte by byte"])
@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "dot"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_a_reply_decides_the_message_wherever_it_comes(
    answer: str, step: str, split: int, offers: tuple[str, ...]
) -> None:
    reply, kind, code, enhanced = ANSWERS[answer]
    receiver = Receiver(rules={step: reply}, offers=offers, split=split)
    verdict = (await deliver(receiver)).verdicts["m0"]
    assert (verdict.kind, verdict.code, verdict.enhanced) == (kind, code, enhanced)
    assert verdict.stage == step
    assert not receiver.accepted


@pytest.mark.parametrize("offers", [PLAIN, PIPELINING], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("step", ["greeting", "ehlo", "mail", "rcpt", "data"])
@pytest.mark.parametrize("mischief", [DROP, STALL, b"hello\r\n", b"2x0 what\r\n", b"999 9.9.9 no\r\n", b"250"])
async def test_what_goes_wrong_before_the_dot_is_tried_again(
    mischief: object, step: str, offers: tuple[str, ...]
) -> None:
    receiver = Receiver(rules={step: mischief}, offers=offers)  # type: ignore[dict-item]
    ledger = await deliver(receiver, limits=HASTY if mischief in SILENT else LIMITS)
    assert ledger.verdicts["m0"].kind == "retry"
    assert not receiver.mails


@pytest.mark.parametrize("mischief", [DROP, STALL, b"hello\r\n", b"354 go on\r\n", b"250-and\r\n"])
async def test_what_goes_wrong_after_the_dot_is_unknown(mischief: object) -> None:
    receiver = Receiver(rules={"dot": mischief})  # type: ignore[dict-item]
    ledger = await deliver(receiver, limits=replace(LIMITS, dot_s=0.3) if mischief in SILENT else LIMITS)
    assert ledger.verdicts["m0"].kind == "unknown"
    assert len(receiver.mails) == 1


@pytest.mark.parametrize("mischief", [DROP, STALL])
async def test_a_long_message_whose_end_never_left_is_tried_again(mischief: object) -> None:
    """8 MB do not fit into the buffers of the kernel: the dot is still with us when the connection ends."""
    receiver = Receiver(rules={"body": mischief})  # type: ignore[dict-item]
    hasty = replace(LIMITS, dot_s=2) if mischief in SILENT else LIMITS
    ledger = await deliver(receiver, limits=hasty, data=b"Subject: long\r\n\r\n" + (b"x" * 76 + b"\r\n") * 100_000)
    assert ledger.verdicts["m0"].kind == "retry"
    assert not receiver.mails


def every(nth: int, rule: object) -> Callable[[int], object]:
    return lambda count: rule if count % nth == nth - 1 else None


STREAMS: dict[str, Rules] = {
    "drops before the envelope": {"mail": every(5, DROP)},  # type: ignore[dict-item]
    "drops at the recipient": {"rcpt": every(7, DROP)},  # type: ignore[dict-item]
    "drops at DATA": {"data": every(4, DROP)},  # type: ignore[dict-item]
    "drops after the dot": {"dot": every(6, DROP)},  # type: ignore[dict-item]
    "refuses some": {"rcpt": every(3, b"550 5.1.1 unknown\r\n"), "dot": every(5, b"451 later\r\n")},  # type: ignore[dict-item]
    "closes politely": {"mail": every(6, b"421 4.7.0 too many messages\r\n")},  # type: ignore[dict-item]
    "wants DATA all the same": {"rcpt": every(3, b"550 no\r\n"), "data": b"354 go\r\n"},  # type: ignore[dict-item]
    "talks nonsense after the dot": {"dot": every(6, b"250-what\r\n251 is this\r\n")},  # type: ignore[dict-item]
}


@pytest.mark.parametrize("offers", [PLAIN, PIPELINING], ids=["lock-step", "pipelining"])
@pytest.mark.parametrize("split", [0, 3], ids=["whole", "split"])
@pytest.mark.parametrize("stream", STREAMS)
async def test_in_a_stream_nothing_is_sent_twice_and_every_verdict_is_right(
    stream: str, split: int, offers: tuple[str, ...]
) -> None:
    receiver = Receiver(rules=dict(STREAMS[stream]), offers=offers, split=split)
    ledger = await deliver(receiver, count=60)
    arrived = [mail.recipients[0] for mail in receiver.mails if mail.recipients]
    assert len(arrived) == len(set(arrived)), "sent twice"
    kinds = {f"p{message_id[1:]}@people.example": verdict.kind for message_id, verdict in ledger.verdicts.items()}
    accepted = {mail.recipients[0] for mail in receiver.accepted if mail.recipients}
    assert {address for address, kind in kinds.items() if kind == "sent"} <= accepted
    assert accepted <= {address for address, kind in kinds.items() if kind in ("sent", "unknown")}
    assert {address for address, kind in kinds.items() if kind == "unknown"} <= set(arrived)


async def test_a_kept_connection_that_was_closed_costs_no_attempt() -> None:
    """The receiver closes after each message; the next goes over a fresh connection, not back to the engine."""
    receiver = Receiver(rules={"mail": lambda count: DROP if count % 2 else None})
    ledger = await deliver(receiver, count=6, limits=replace(LIMITS, connections=1))
    assert [verdict.kind for verdict in ledger.verdicts.values()] == ["sent"] * 6


async def test_a_refused_recipient_does_not_cost_the_message_behind_it() -> None:
    receiver = Receiver(rules={"rcpt": lambda count: b"550 5.1.1 unknown\r\n" if count % 2 else None})
    ledger = await deliver(receiver, count=40, limits=Limits(connections=1))
    kinds = [ledger.verdicts[f"m{number}"].kind for number in range(40)]
    assert kinds == ["sent", "bounced"] * 20
    assert receiver.connections == 1


async def test_what_comes_in_clear_before_tls_is_not_believed() -> None:
    """An injected reply behind the 220 of STARTTLS is dropped, not taken for the answer to EHLO (CVE-2011-0411)."""
    from heliograph.adapters.smtp.dialogue import Dialogue

    dialogue = Dialogue()
    dialogue.data_received(b"220 go\r\n250 injected\r\n25")
    assert (await dialogue.reply(1)).code == 220
    dialogue.forget()
    assert dialogue.silent
    dialogue.data_received(b"250 real\r\n")
    assert (await dialogue.reply(1)).text == "real"


@pytest.fixture(autouse=True)
async def no_task_is_left() -> AsyncIterator[None]:
    yield
    await asyncio.sleep(0)
    assert not [task for task in asyncio.all_tasks() if "Pool" in repr(task)]
