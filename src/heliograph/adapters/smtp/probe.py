"""One message, one verdict, one plain line: what ``heliograph send-test`` prints."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from heliograph.adapters.smtp.limits import Limits
from heliograph.ports import Courier, Parcel, Transport, Verdict

PATIENCE: Final = Limits(connect_s=10, greeting_s=15, command_s=30, data_s=30, dot_s=60)
"""Somebody is watching: give up earlier than a mailer does."""

_SUBJECT: Final = {"mail": "the sender {sender}", "rcpt": "the recipient {recipient}"}


class _Once:
    """A courier that always goes, and waits for one verdict."""

    def __init__(self) -> None:
        self.verdict: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.transport: Transport | None = None

    def ask(self, message_ids: Sequence[str]) -> None:
        assert self.transport is not None, "nothing is asked before it is posted"
        self.transport.decided(message_ids, ())

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        self.verdict.set_result(verdict)


async def probe(open_transport: Callable[[Courier], Transport], parcel: Parcel) -> Verdict:
    """Send this parcel now, without a ledger, once; its route is whatever the transport has."""
    courier = _Once()
    mail = courier.transport = open_transport(courier)
    try:
        mail.post(parcel)
        return await courier.verdict
    finally:
        await mail.close(PATIENCE.quit_s)


def sentence(parcel: Parcel, verdict: Verdict) -> str:
    """The verdict in one line, for a person at a terminal: who said it, and under which TLS."""
    if verdict.stage == "connect":
        return verdict.reply
    if verdict.kind == "sent":
        return f"{verdict.via} accepted the message for {parcel.recipient}: {verdict.reply}"
    if verdict.kind == "unknown":
        return f"{verdict.via} has the whole message and never answered, so it may arrive or not: {verdict.reply}"
    what = _SUBJECT.get(verdict.stage, "the message").format(sender=parcel.sender, recipient=parcel.recipient)
    if verdict.kind == "bounced":
        return f"{verdict.via} refused {what}: {verdict.reply}"
    return f"{verdict.via} did not take {what} for now: {verdict.reply}"
