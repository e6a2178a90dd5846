"""The project under test: its folder, its clock, its people and its receiver."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from heliograph import config, render
from heliograph.adapters.memory import MemoryStore
from heliograph.adapters.schema import JsonSchema
from heliograph.decide.times import iso, parse_duration
from heliograph.deliver.routes import Routes
from heliograph.events.decode import decode_call
from heliograph.events.event import API_ENTRY, Event
from heliograph.events.identity import normalise_address
from heliograph.events.ids import make_id
from heliograph.events.instants import parse_instant
from heliograph.events.record import LedgerRow
from heliograph.ports import Arrival, MessageRow, Result
from heliograph.project import ProjectError, check_project
from heliograph.runtime.clock import ManualClock
from heliograph.runtime.crank import Crank
from heliograph.runtime.mailwire import MailerSender, MailerSettings
from heliograph.testing.broadcast import Broadcast
from heliograph.testing.mail import Mail, Mails
from heliograph.testing.person import Person
from heliograph.testing.postman import Postman
from heliograph.testing.web import Request, Web

START: Final = "2026-06-01T09:00:00Z"
"""A Monday morning, far from any change of clocks."""
LINK_KEY: Final = b"links of a test, not a secret..."
FOREVER: Final = 100_000
"""Wake-ups in a row at one instant: more is a journey that goes in circles without waiting."""


class EventRefused(ValueError):
    """A call that the server would answer with ``dead_letter`` or ``refused``; the text is its reason."""


class Project:
    """A project folder, served in memory.  Raises :class:`~heliograph.project.ProjectError` with every mistake in it.

    ``start`` (RFC 3339) is the first instant; then time passes only by :meth:`advance`.  ``time_scale`` is 1, whatever
    the project says, so that tests are written in real durations; ``None`` takes the project's.
    """

    def __init__(self, folder: str | Path, *, start: str = START, time_scale: float | None = 1) -> None:
        self._time_scale = time_scale
        at = parse_instant(start)
        if at is None:
            raise ValueError(f"start={start!r} is no instant like {START}")
        self._clock = ManualClock(at)
        self._calls = 0
        self._batch: list[Arrival] | None = None
        self._crank = Crank(MemoryStore(), self._clock, compile_schema=JsonSchema, load_template=render.load)
        settings = self._publish(Path(folder))
        self.base_url = settings.base_url
        self._postman = Postman(self._crank, self._clock, settings)
        self._web = Web(self._crank, self._clock)

    def publish(self, folder: str | Path) -> None:
        """Publish another version of the project, as ``heliograph apply`` does: what is under way goes on."""
        self._publish(Path(folder))
        self._settle()

    def _publish(self, folder: Path) -> MailerSettings:
        report = check_project(folder)
        if not report.ok:
            raise ProjectError(report.errors)
        document = report.document
        if self._time_scale is not None:
            document["project"] = {**document["project"], "time_scale": self._time_scale}
        self._crank.publish(document)
        while self._crank.sweep():
            pass
        return _mailer_settings(config.inspect(folder).raw)

    # -- people --

    def person(self, user_id: str, /, **traits: Any) -> Person:
        """Somebody with a user id.  With traits (``email=``, ``consent={...}``) they are identified first."""
        person = Person(self, user_id, None)
        if traits:
            person.identify(**traits)
        return person

    def visitor(self, anonymous_id: str = "browser-1", /, **traits: Any) -> Person:
        """Somebody who has not said who they are."""
        person = Person(self, None, anonymous_id)
        if traits:
            person.identify(**traits)
        return person

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Calls made inside arrive in one ``/v1/batch``, in this order, at the end."""
        batch: list[Arrival] = []
        self._batch = batch
        try:
            yield
        finally:
            self._batch = None
        results = self._crank.collect(batch)
        self._settle()
        for result in results:
            _accepted(result)

    # -- time --

    @property
    def now(self) -> str:
        """RFC 3339, UTC."""
        return iso(self._clock.now())

    @property
    def at(self) -> int:
        """The same in ms UTC, as ``mail.sent_at`` has it."""
        return self._clock.now()

    def advance(self, duration: str | timedelta) -> None:
        """Let time pass (``"PT30M"``, ``"P7D"``): every timer fires at its instant, and mail goes when it may."""
        if isinstance(duration, timedelta):
            ms = duration // timedelta(milliseconds=1)
        else:
            parsed = parse_duration(duration)
            if parsed.calendar:
                raise ValueError(f"{duration} is no fixed time; name the day with advance_to")
            ms = parsed.ms
        self._advance_to(self._clock.now() + ms)

    def advance_to(self, instant: str | datetime) -> None:
        """Let time pass until this instant (RFC 3339)."""
        self._advance_to(self._ms(instant))

    def _advance_to(self, until: int) -> None:
        if until < self._clock.now():
            raise ValueError(f"{iso(until)} is over: it is {self.now}")
        while (at := self._next_at()) is not None and at <= until:
            self._clock.at = at
            self._settle()
        self._clock.at = until
        self._settle()

    def _next_at(self) -> int | None:
        instants = (self._crank.next_at(), self._web.next_at())
        return min((at for at in instants if at is not None), default=None)

    def _settle(self) -> None:
        """Everything that happens at this instant."""
        for _ in range(FOREVER):
            self._postman.deliver()
            if not self._crank.wake() and not self._web.serve() and not self._crank.broadcast():
                return
        raise RuntimeError(f"timers go in circles at {self.now}")

    def _ms(self, instant: str | datetime) -> int:
        at = parse_instant(instant if isinstance(instant, str) else instant.isoformat())
        if at is None:
            raise ValueError(f"{instant!r} is no instant like {START}")
        return at

    def _instant_text(self, at: str | timedelta | datetime) -> str:
        """``at`` of a call: an instant, or a duration counted from now (``"-PT2H"``: two hours ago)."""
        if isinstance(at, timedelta):
            return iso(self._clock.now() + at // timedelta(milliseconds=1))
        if isinstance(at, str) and at.lstrip("+-").startswith("P"):
            return iso(self._clock.now() + parse_duration(at).ms)
        return iso(self._ms(at))

    # -- mail --

    @property
    def messages(self) -> list[Mail]:
        """Every mail that the receiver took, oldest first."""
        return list(self._postman.sent)

    @property
    def mails(self) -> Mails:
        """The templates of :attr:`messages`."""
        return Mails((mail.template for mail in self.messages), lambda name: "ask one person: person.why(template=...)")

    def receiver_says(self, address: str, reply: str) -> None:
        """From now on the receiver of this address answers so: ``"550 5.1.1 no such user"``, ``"450 try later"``;
        ``"250 ok"`` ends it, and ``""`` breaks the connection before the answer (the mail becomes ``unknown``)."""
        self._postman.replies[normalise_address(address) or address] = reply

    @contextmanager
    def mail_held(self) -> Iterator[None]:
        """No mail leaves inside: what is decided is queued, and can still be stopped."""
        self._postman.held = True
        try:
            yield
        finally:
            self._postman.held = False
        self._settle()

    # -- broadcasts --

    def broadcast(self, document: dict[str, Any] | None = None, /, **keys: Any) -> Broadcast:
        """Send a broadcast: what its file says, or its keys (``template="news", audience={"segment": "buyers"}``).

        Whoever is in its audience is mailed at once, or when ``at`` has come.  Raises
        :class:`~heliograph.ports.BroadcastRefused`."""
        written = {"name": "a broadcast", **(document or {}), **keys}
        row = self._crank.create_broadcast(written)
        self._settle()
        return Broadcast(self._crank, row.broadcast_id, self._settle)

    # -- the outside --

    def answers(self, url: str, reply: Any) -> None:
        """What a ``webhook`` step hears from URLs that begin so: JSON of a 200, a status (``503``), or a function that
        gets the :class:`Request` and returns either."""
        self._web.servers[url] = reply if callable(reply) else lambda _: reply

    @property
    def requests(self) -> list[Request]:
        """Every try of a webhook so far."""
        return list(self._web.asked)

    def suppress(self, address: str) -> None:
        """Stop all mail to this address, by hand."""
        normal = normalise_address(address) or address
        self._change(lambda crank, now: crank.change_ledger([LedgerRow(normal, "!manual", False, now, "test")]))

    # -- for Person --

    def _change(self, act: Callable[[Crank, int], None]) -> None:
        if self._batch is not None:
            raise RuntimeError("only calls (track, identify, page ...) fit into a batch")
        act(self._crank, self._clock.now())
        self._settle()

    def _collect(self, call: dict[str, Any]) -> str:
        arrival = decode_call(call["type"], json.dumps(call).encode(), self._clock.now(), self._new_id)
        if self._batch is not None:
            self._batch.append(arrival)
            return "accepted"
        (result,) = self._crank.collect([arrival])
        status = _accepted(result)
        self._settle()
        return status

    def _enter(self, key: str, journey: str, properties: dict[str, Any]) -> str:
        event = Event(self._new_id(), "track", API_ENTRY, self._clock.now(), properties=properties)
        entered = self._crank.enter(key, journey, event)
        self._settle()
        return entered.status

    def _new_id(self) -> str:
        self._calls += 1
        return make_id("test", self._calls)

    def _rows(self) -> list[MessageRow]:
        rows, _ = self._crank.store.messages(limit=1_000_000)
        return sorted(rows, key=lambda row: row.created_at)

    def _timeline(self, key: str) -> str:
        state = self._crank.state(key)
        rows = self._crank.store.journal(state.key, 100_000) if state else []
        lines = (f"{iso(row.at)}  {row.kind}  {json.dumps(row.data, default=str)}" for row in reversed(rows))
        return "\n".join(lines)


def _accepted(result: Result) -> str:
    if result.status not in ("accepted", "duplicate"):
        raise EventRefused(result.reason)
    return result.status


def _mailer_settings(raw: dict[str, Any]) -> MailerSettings:
    """As a mailer of the server gets them, without secrets: no keys to sign with, no relay."""
    senders = {
        name: MailerSender(
            from_=one["from"], reply_to=one.get("reply_to"), postal_address=one.get("postal_address", "")
        )
        for name, one in raw.get("sender", {}).items()
    }
    project = raw.get("project", {})
    return MailerSettings(
        routes=Routes(),
        senders=senders,
        base_url=project.get("base_url", "http://127.0.0.1:8080"),
        link_keys={"1": LINK_KEY},
        timezone=project.get("timezone", "UTC"),
    )
