"""One message, one verdict, one plain line: what ``heliograph send-test`` prints."""

import asyncio
import ssl
from collections.abc import Sequence
from typing import Final

from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.pool import Pool
from heliograph.adapters.smtp.url import Relay
from heliograph.ports import Parcel, Verdict

PATIENCE: Final = Limits(connections=1, connect_s=10, greeting_s=30, command_s=30, data_s=30, dot_s=60)
"""Somebody is watching: give up earlier than a mailer does."""

_SUBJECT: Final = {"mail": "the sender {sender}", "rcpt": "the recipient {recipient}"}


class _Once:
    """A courier that always goes, and waits for one verdict."""

    def __init__(self) -> None:
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.transport: Pool | None = None

    def ask(self, message_ids: Sequence[str]) -> None:
        assert self.transport is not None, "nothing is asked before it is posted"
        self.transport.decided(message_ids, ())

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self.verdict.set_result(verdict)


async def probe(
    relay: Relay, parcel: Parcel, limits: Limits = PATIENCE, trust: ssl.SSLContext | None = None
) -> Verdict:
    """Send this parcel now, without a ledger, once."""
    courier = _Once()
    pool = courier.transport = Pool(relay, courier, limits, trust)
    try:
        pool.post(parcel)
        return await courier.verdict
    finally:
        await pool.close(limits.quit_s)


def sentence(relay: Relay, parcel: Parcel, verdict: Verdict) -> str:
    """The verdict in one line, for a person at a terminal."""
    if verdict.stage == "connect":
        return verdict.reply
    if verdict.kind == "sent":
        return f"{relay} accepted the message for {parcel.recipient}: {verdict.reply}"
    if verdict.kind == "unknown":
        return f"{relay} has the whole message and never answered, so it may arrive or not: {verdict.reply}"
    what = _SUBJECT.get(verdict.stage, "the message").format(sender=parcel.sender, recipient=parcel.recipient)
    if verdict.kind == "bounced":
        return f"{relay} refused {what}: {verdict.reply}"
    return f"{relay} did not take {what} for now: {verdict.reply}"
