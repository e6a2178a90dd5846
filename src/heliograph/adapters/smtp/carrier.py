"""One open connection, carrying mail: the machine of replies.

At most two parcels are here, the *current* one and the one *behind* it.  With PIPELINING (RFC 2920) they share writes::

    we:      MAIL a, RCPT a, DATA
    server:  250, 250, 354
    we:      body a, dot, MAIL b, RCPT b, DATA           one write: b waits for nothing but a's dot
    server:  250 (a is sent), 250, 250, 354
    we:      body b, dot, MAIL c, RCPT c, DATA

so a message costs one round trip.  DATA stands last in its group, as the RFC asks, and b's envelope is written only
when a's body is: before that a refusal of a may still need RSET.  Without PIPELINING every command waits for its
answer and nothing goes behind.

Replies are matched to what was asked strictly in order (:attr:`Carrier._expected`).  A parcel ends in exactly one of: a
verdict; ``returned`` to the pool, when a connection that had served before turns out to be closed and nothing of the
parcel can have been accepted; ``untouched``, when nothing of it was written.  ``unknown`` is said only when the final
dot was handed to the kernel.
"""

import asyncio
from collections import deque
from typing import Final, Protocol

from heliograph.adapters.smtp.limits import Limits
from heliograph.adapters.smtp.opening import Session
from heliograph.adapters.smtp.wire import END, ProtocolError, Refused, Reply, ReplyReader, envelope, stuffed
from heliograph.deliver.replies import outcome
from heliograph.ports import Parcel, Verdict

MAIL, RCPT, DATA, DOT, VOID, RSET = "mail", "rcpt", "data", "dot", "void", "rset"
"""What a reply answers.  VOID: the lone dot with which we back out of a DATA that should have been refused."""

SHUTTING_DOWN: Final = 421
"""May answer anything, or nothing (RFC 5321, 3.8)."""
GO_AHEAD: Final = 354
"""The only reply after which a message may be written (RFC 5321, 4.1.1.4)."""


TOO_LATE: Final = "its worker's lease ended before it could be written"


class Owner(Protocol):
    """The pool, as a carrier sees it."""

    def delivered(self, parcel: Parcel, verdict: Verdict) -> None: ...

    def returned(self, parcel: Parcel, verdict: Verdict) -> None:
        """Try another connection, or give this verdict."""
        ...

    def untouched(self, parcel: Parcel) -> None:
        """Not a byte of it was written: take another connection."""
        ...

    def freed(self, carrier: "Carrier") -> None:
        """There may be room on it now."""
        ...

    def gone(self, carrier: "Carrier") -> None:
        """Forget it."""
        ...


class Load:
    """A parcel on a connection, as bytes."""

    __slots__ = ("begun", "body", "dotted", "mail", "parcel", "rcpt", "refusal")

    def __init__(self, parcel: Parcel, session: Session) -> None:
        """:class:`Refused` when it cannot go over this connection."""
        self.parcel = parcel
        self.body = stuffed(parcel.data)
        self.mail, self.rcpt = envelope(parcel.sender, parcel.recipient, parcel.data, session.offer)
        self.refusal: Verdict | None = None
        self.begun = False
        self.dotted = False


class Carrier(asyncio.Protocol):
    """Takes over the transport of a :class:`Session`."""

    def __init__(self, session: Session, owner: Owner, limits: Limits) -> None:
        self._session = session
        self._transport = session.transport
        self._owner = owner
        self._limits = limits
        self._reader = ReplyReader()
        self._loop = asyncio.get_running_loop()
        self._pipelining = session.offer.pipelining
        self._expected: deque[tuple[str, Load | None]] = deque()
        self._current: Load | None = None
        self._behind: Load | None = None
        self._served = 0
        self._taken = 0
        self._over = False
        self._clogged = False
        self._unsent = 0
        self.closed = asyncio.Event()
        self._patience = {
            MAIL: limits.command_s, RCPT: limits.command_s, DATA: limits.data_s, DOT: limits.dot_s,
            VOID: limits.dot_s, RSET: limits.command_s,
        }  # fmt: skip
        self._block_s = min(limits.block_s, limits.dot_s)
        self._tick = min(limits.idle_s, self._block_s, *self._patience.values()) / 2
        self._since = self._loop.time()
        self._timer = self._loop.call_later(self._tick, self._check)
        # With a high-water mark of 0 `pause_writing` tells exactly whether the kernel has taken everything.
        self._transport.set_write_buffer_limits(high=0)
        self._transport.set_protocol(self)

    # -- for the pool --

    @property
    def load(self) -> int:
        """Parcels on it: 0, 1 or 2."""
        return (self._current is not None) + (self._behind is not None)

    @property
    def spent(self) -> bool:
        """It takes no more: let it leave when it is empty."""
        return self._over or self._taken >= self._limits.messages_per_connection

    @property
    def room(self) -> int:
        """Parcels it takes now."""
        if self.spent:
            return 0
        return 2 - self.load if self._pipelining else int(not self._expected)

    def take(self, parcel: Parcel) -> None:
        """Carry it; only when there is :attr:`room`, only behind its commit point."""
        try:
            load = Load(parcel, self._session)
        except Refused as fault:
            why = f"{fault.enhanced} {fault}"
            self._owner.delivered(parcel, Verdict("bounced", 0, fault.enhanced, why, MAIL, self._session.via))
            return
        self._taken += 1
        if self._current is None:
            self._current = load
            self._since = self._loop.time()
            self._begin(load)
        else:
            self._behind = load
            if self._current.dotted:
                self._begin(load)

    def retire(self) -> None:
        """Take no more: let it leave when it is empty."""
        self._taken = self._limits.messages_per_connection

    def leave(self) -> None:
        """Say QUIT and close; only when nothing is on it."""
        if not self._over:
            self._end()
            self._transport.write(b"QUIT\r\n")
            self._timer = self._loop.call_later(self._limits.quit_s, self._transport.abort)

    def cut(self, why: str) -> None:
        """Close at once; every parcel on it gets its verdict."""
        self._lose(why)

    # -- from asyncio --

    def data_received(self, data: bytes) -> None:
        if self._over:  # the answer to QUIT, or bytes behind an end that has been judged
            self._transport.close()
            return
        self._since = self._loop.time()
        try:
            for reply in self._reader.feed(data):
                self._answer(reply)
                if self._over:
                    return
        except ProtocolError as error:
            self._lose(f"the server does not speak SMTP: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        self._lose("the server closed the connection" if exc is None else f"the connection broke: {exc}")
        self._timer.cancel()
        self.closed.set()

    def pause_writing(self) -> None:
        self._clogged = True

    def resume_writing(self) -> None:
        self._clogged = False
        self._since = self._loop.time()

    # -- questions --

    def _begin(self, load: Load) -> None:
        if self._pipelining:
            self._transport.write(self._group(load))
        else:
            load.begun = True
            self._expect(MAIL, load)
            self._transport.write(load.mail)

    def _group(self, load: Load) -> bytes:
        load.begun = True
        self._expected += ((MAIL, load), (RCPT, load), (DATA, load))
        return load.mail + load.rcpt + b"DATA\r\n"

    def _expect(self, what: str, load: Load | None) -> None:
        self._expected.append((what, load))

    def _send_body(self, load: Load) -> None:
        """The body, its dot, and the envelope of what is behind, in one write."""
        if self._over:
            return
        if (leave := load.parcel.leave) is not None and leave.over:
            self._lose(TOO_LATE, None, DATA)
            return
        load.dotted = True
        self._expect(DOT, load)
        if self._behind is not None:
            self._transport.write(b"".join((load.body, END, self._group(self._behind))))
        else:
            self._transport.write(load.body + END)

    # -- answers --

    def _answer(self, reply: Reply) -> None:
        if not self._expected:
            self._lose(f"unasked: {reply}")
            return
        what, load = self._expected.popleft()
        if reply.code == SHUTTING_DOWN and what != DOT:
            self._lose(str(reply), reply, what)
        elif load is None:
            self._after_reset(reply)
        elif what == DATA:
            self._after_data(load, reply)
        elif what == DOT:
            self._after_dot(load, reply)
        elif what == VOID:
            self._back_out(load)
        else:
            self._after_command(what, load, reply)

    def _after_command(self, what: str, load: Load, reply: Reply) -> None:
        """MAIL or RCPT was answered."""
        if 300 <= reply.code < 400:
            self._lose(f"out of turn: {reply}")
            return
        if reply.code >= 400 and load.refusal is None:
            load.refusal = self._verdict(reply, what)
        if not self._pipelining:
            self._next_command(what, load)

    def _next_command(self, what: str, load: Load) -> None:
        if load.refusal is not None:
            self._back_out(load)
        elif what == MAIL:
            self._expect(RCPT, load)
            self._transport.write(load.rcpt)
        else:
            self._expect(DATA, load)
            self._transport.write(b"DATA\r\n")

    def _after_data(self, load: Load, reply: Reply) -> None:
        if reply.code < 400 and reply.code != GO_AHEAD:  # our lines would be taken for commands
            self._lose(f"out of turn: {reply}")
        elif reply.code >= 400:
            load.refusal = load.refusal or self._verdict(reply, DATA)
            self._back_out(load)
        elif load.refusal is not None and load.refusal.stage == MAIL:  # a dot now might mail nothing to somebody
            self._lose(f"out of turn: {reply}")
        elif load.refusal is not None:  # it refused the envelope and wants the data all the same (RFC 2920, 3.1)
            self._expect(VOID, load)
            self._transport.write(END)
        else:
            # Not at once: what is being decided in this turn of the loop may share the write.
            self._loop.call_soon(self._send_body, load)

    def _after_dot(self, load: Load, reply: Reply) -> None:
        if 300 <= reply.code < 400 or (reply.code < 300 and self._dot_held_back()):  # nobody has taken it yet
            self._lose(f"out of turn: {reply}")
            return
        self._served += 1
        self._finish(load, self._verdict(reply, DOT))
        if reply.code == SHUTTING_DOWN:
            self._lose(str(reply), reply)

    def _back_out(self, load: Load) -> None:
        """The envelope was refused: clear it (MAIL may stand) and go on with what is behind."""
        assert load.refusal is not None, "backing out needs a reason"
        self._expect(RSET, None)
        if self._behind is not None and self._pipelining:
            self._transport.write(b"RSET\r\n" + self._group(self._behind))
        else:
            self._transport.write(b"RSET\r\n")
        self._finish(load, load.refusal)

    def _after_reset(self, reply: Reply) -> None:
        if reply.code >= 300:
            self._lose(f"RSET refused: {reply}")
        else:
            self._owner.freed(self)

    def _finish(self, load: Load, verdict: Verdict) -> None:
        assert load is self._current, "replies come in order"
        self._current, self._behind = self._behind, None
        self._owner.delivered(load.parcel, verdict)
        if not self._over:
            self._owner.freed(self)

    # -- the end --

    def _check(self) -> None:
        """Has the server been silent for too long?  Runs at half the shortest limit."""
        unsent, before = self._transport.get_write_buffer_size(), self._unsent
        self._unsent = unsent
        if 0 < unsent < before:
            self._since = self._loop.time()
        silent = self._loop.time() - self._since
        if unsent and silent >= self._block_s:
            self._lose(f"the network took nothing for {self._block_s:g} s", None, DOT)
            return
        if self._expected:
            what = self._expected[0][0]
            if silent >= self._patience[what]:
                self._lose(f"no answer to {what.upper()} within {self._patience[what]:g} s", None, what)
                return
        elif self._current is None and silent >= self._limits.idle_s:
            self.leave()
            return
        self._timer = self._loop.call_later(self._tick, self._check)

    def _end(self) -> None:
        self._over = True
        self._timer.cancel()
        self._owner.gone(self)

    def _lose(self, why: str, reply: Reply | None = None, stage: str = "") -> None:
        """The connection is of no more use: judge what is on it, by what the server can have seen."""
        if self._over:
            return
        # What is behind is judged first, so that what goes back to the pool stands there in its old order.
        loads = [load for load in (self._behind, self._current) if load is not None]
        self._end()
        self._transport.abort()
        for load in loads:
            self._judge(load, why, reply, stage or self._stage_of(load))

    def _judge(self, load: Load, why: str, reply: Reply | None, stage: str) -> None:
        code, enhanced = (reply.code, reply.enhanced) if reply else (0, "")
        if load.refusal is not None:
            self._owner.delivered(load.parcel, load.refusal)
        elif load.dotted and not self._dot_held_back():
            self._owner.delivered(load.parcel, Verdict("unknown", 0, "", why, DOT, self._session.via))
        elif not load.begun:
            self._owner.untouched(load.parcel)
        elif self._served:
            self._owner.returned(load.parcel, Verdict("retry", code, enhanced, why, stage, self._session.via))
        else:
            self._owner.delivered(load.parcel, Verdict("retry", code, enhanced, why, stage, self._session.via))

    def _dot_held_back(self) -> bool:
        """The kernel never took the end of our last write, and that end was a final dot.  Under TLS nobody tells us:
        its layer says that it is clogged when all has left, and the message would be sent twice."""
        return self._clogged and self._behind is None and not self._session.encrypted

    def _stage_of(self, load: Load) -> str:
        """What is waited for on behalf of this load."""
        return next((what for what, other in self._expected if other is load), DOT if load.dotted else MAIL)

    def _verdict(self, reply: Reply, stage: str) -> Verdict:
        """What a final reply (not 3yz) means for the message."""
        return Verdict(outcome(reply.code), reply.code, reply.enhanced, str(reply), stage, self._session.via)
