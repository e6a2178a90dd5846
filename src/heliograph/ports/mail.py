"""Mail on its way: parcels, who carries them and who answers for them."""

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from heliograph.deliver.routes import Reach


class Verdict(msgspec.Struct, frozen=True, array_like=True):
    """What a receiver said about one message.

    ``kind``: sent (2yz after the dot), retry (4yz, or nothing was accepted and the connection broke before the dot),
    bounced (5yz), unknown (the dot was written, its reply never read).  ``reply``: its last reply in one line.
    ``stage``: what it answered: connect, mail, rcpt, data or dot.  ``via``: over which server, and how:
    ``mx.example:25 (TLSv1.3, certificate verified)``; empty when there was none.
    """

    kind: str
    code: int
    enhanced: str
    reply: str
    stage: str = ""
    via: str = ""


class Leave(msgspec.Struct, gc=False):
    """To write one message's DATA, where whoever gave it has it for a time only: until ``until``
    (:func:`heliograph.ports.steady_ms`), 0 for not yet."""

    until: int = 0
    asked_at: int = 0

    @property
    def over(self) -> bool:
        return steady_ms() >= self.until


def steady_ms() -> int:
    """Milliseconds of a clock that nobody sets; where there is one, it also counts while the machine is suspended."""
    return time.clock_gettime_ns(_CLOCK) // 1_000_000


_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


class Parcel(msgspec.Struct, frozen=True, gc=False):
    """A message ready to travel: envelope addresses, and CRLF bytes that are not yet dot-stuffed.  ``route`` and
    ``receiver``: :mod:`heliograph.deliver.routes`.  ``leave``: asked right before its body is written; None: for ever.
    """

    message_id: str
    sender: str
    recipient: str
    data: bytes
    route: str = "default"
    receiver: str = ""
    leave: Leave | None = None


class Courier(Protocol):
    """Who gives parcels to a :class:`Transport` and answers for them.  Both calls come from the event loop, return at
    once, and may call back into the transport."""

    def ask(self, message_ids: Sequence[str]) -> None:
        """Pass the commit point for these (at most 50), to be answered by :meth:`Transport.decided`.  Each way out has
        one ask open at a time: what arrives meanwhile is asked together.  Asks of different ways do not wait for each
        other."""
        ...

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None:
        """Exactly once for every parcel, except those stopped at their commit point or dropped by a close.  A
        ``retry`` with stage ``connect`` may come for a parcel that was never asked for."""
        ...


class Transport(Protocol):
    """Carries ready parcels to receivers.  No byte of a body is written for a parcel that is not decided to go, or
    whose :class:`Leave` is over (that one is a ``retry`` with stage ``data``), and per connection at most two are past
    their commit point: one in flight, one pipelined behind it.  What waits for one receiver or one relay never holds
    up what is for another."""

    def room(self, route: str, receiver: str) -> int:
        """How many more parcels of this lane are worth rendering now; 0 or less: none, until something of it was asked
        for or delivered."""
        ...

    def post(self, parcel: Parcel) -> None:
        """Take it; never refuses, also where there is no :meth:`room`."""
        ...

    def decided(self, go: Sequence[str], stop: Sequence[str]) -> None:
        """The answer to one :meth:`Courier.ask`; ids of that ask that are in neither are forgotten.  An empty answer
        means that nobody will answer any more: everything asked for is forgotten."""
        ...

    def reach(self, receivers: Mapping[str, Reach]) -> None:
        """Another part of what receivers allow is ours from now on (``receivers``: as of
        :class:`~heliograph.deliver.routes.Routes`): connections beyond it are closed as soon as nothing is on them."""
        ...

    async def close(self, grace_s: float) -> None:
        """Ask for nothing more, finish what is past its commit point or being asked, for at most ``grace_s``; then
        cut the rest off (each with its verdict) and drop what was never decided."""
        ...


# -- who takes mail for a domain --

NO_DOMAIN, NO_RECORD, UNSURE = "no_domain", "no_record", "unsure"
"""Why DNS gave nothing: the name does not exist (NXDOMAIN), it has no record of that kind, or nobody could say
(SERVFAIL, no answer in time), which is never a reason to give a message up."""
NULL_MX = "null_mx"
"""The domain says that it takes no mail (RFC 7505)."""


class MxAnswer(msgspec.Struct, frozen=True):
    """``hosts``: (preference, name), the best first, names in lower case without a dot at the end.  A domain that has
    no MX record is its own host (RFC 5321, 5.1: ``implicit``), whether or not it has an address.  Without hosts,
    ``fault`` says why: :data:`NULL_MX`, :data:`NO_DOMAIN` or :data:`UNSURE`."""

    hosts: tuple[tuple[int, str], ...] = ()
    fault: str = ""
    implicit: bool = False


class Records(msgspec.Struct, frozen=True):
    """``found``: addresses (IPv6 first) or texts.  None: ``fault`` says why."""

    found: tuple[str, ...] = ()
    fault: str = ""


class MxLookup(Protocol):
    """Who takes mail for a domain; all that a roll-up of receivers needs of DNS."""

    async def mx(self, domain: str) -> MxAnswer:
        """Never raises.  ``domain``: any spelling; one that is no domain is :data:`NO_DOMAIN`."""
        ...


class MailDns(MxLookup, Protocol):
    """All that delivery needs of DNS.  No look-up waits for another, and none raises."""

    async def addresses(self, host: str) -> Records:
        """IPv6 and IPv4 addresses of a host."""
        ...

    async def texts(self, name: str) -> Records:
        """TXT records, the strings of each joined (RFC 7208, 3.3)."""
        ...

    async def close(self) -> None:
        """Give up what is being asked."""
        ...
