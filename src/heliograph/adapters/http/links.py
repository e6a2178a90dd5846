"""Links of our mails: ``/u/`` unsubscribe, ``/p/`` preferences, ``/c/`` click, ``/o/`` open.

GET and HEAD of ``/u/`` and ``/p/`` change nothing.  A withdrawal is committed *before* its 200 and is never answered
with a redirect (RFC 8058); mailbox providers POST ``List-Unsubscribe=One-Click`` as form or multipart, without
cookies.  A click or open must never fail because we are busy: what cannot be recorded is let go.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from heliograph.adapters.http import pages
from heliograph.adapters.http.body import BodyReader
from heliograph.adapters.http.machines import is_machine
from heliograph.adapters.http.reply import NO_STORE, Headers, Problem, Receive, Reply, Scope, not_allowed, retry_after
from heliograph.events.record import LedgerRow, Outcome
from heliograph.ports import Busy, Engine, StoreAway
from heliograph.render.links import Claims, Kind, LinkKeys, sign, verify

IMPLICIT_TOPIC = "marketing"
_STOPS = ("!bounce", "!manual")
_FORM_BYTES = 16 * 1024
_PIXEL = bytes.fromhex("47494638396101000100800000000000ffffff21f90401000000002c00000000010001000002024401003b")
_GIF: Headers = ((b"content-type", b"image/gif"), *NO_STORE)

Answer = Callable[[Scope, Receive, Claims], Awaitable[Reply]]


class Links:
    """``brand``: the project's name, on every page."""

    def __init__(self, engine: Engine, keys: LinkKeys, reader: BodyReader, brand: str) -> None:
        self._engine = engine
        self._keys = keys
        self._reader = reader
        self._brand = brand
        self._answers: dict[Kind, tuple[Answer, tuple[str, ...]]] = {
            "u": (self._unsubscribe, ("GET", "HEAD", "POST")),
            "p": (self._preferences, ("GET", "HEAD", "POST")),
            "c": (self._click, ("GET", "HEAD")),
            "o": (self._open, ("GET", "HEAD")),
        }

    async def __call__(self, scope: Scope, receive: Receive, kind: Kind) -> Reply:
        """Answer ``/KIND/TOKEN``."""
        answer, methods = self._answers[kind]
        if scope["method"] not in methods:
            return not_allowed(*methods)
        claims = verify(kind, scope["path"][3:], self._keys)
        if claims is None:
            return Reply(200, _PIXEL, _GIF) if kind == "o" else pages.not_ours(self._brand)
        try:
            return await answer(scope, receive, claims)
        except StoreAway:
            return pages.busy(self._brand, retry_after(2))

    # -- consent --

    async def _unsubscribe(self, scope: Scope, receive: Receive, claims: Claims) -> Reply:
        topic = claims.topic or IMPLICIT_TOPIC
        preferences = "/p/" + sign("p", claims, self._keys)
        if scope["method"] != "POST":
            return pages.confirm(self._brand, claims.address, topic, preferences)
        body = await self._form(scope, receive)
        source = "one-click" if b"List-Unsubscribe" in body else "unsubscribe page"
        try:
            await self._withdraw(scope, claims, [topic], source)
        except Busy as busy:
            return pages.busy(self._brand, retry_after(busy.retry_after_s))
        return pages.unsubscribed(self._brand, claims.address, topic, preferences)

    async def _preferences(self, scope: Scope, receive: Receive, claims: Claims) -> Reply:
        saved = scope["method"] == "POST"
        if saved:
            form = parse_qs((await self._form(scope, receive)).decode("utf-8", "replace"))
            try:
                await self._save(scope, claims, form)
            except Busy as busy:
                return pages.busy(self._brand, retry_after(busy.retry_after_s))
        stopped = any(not row.given for row in self._engine.store.ledger(claims.address) if row.topic in _STOPS)
        choices = [pages.TopicChoice(topic, given) for topic, given in self._consent(claims.address).items()]
        return pages.preferences(self._brand, claims.address, choices, stopped=stopped, saved=saved)

    async def _save(self, scope: Scope, claims: Claims, form: dict[str, list[str]]) -> None:
        """Write what differs from the present; a topic that the page did not show stays as it is."""
        present = self._consent(claims.address)
        wanted = [] if "none" in form else form.get("on", [])
        changed = {
            topic: topic in wanted
            for topic in form.get("shown", [])
            if topic in present and present[topic] != (topic in wanted)
        }
        given = [topic for topic, on in changed.items() if on]
        if given:
            await self._engine.change_ledger([self._row(scope, claims, topic, True, "preferences") for topic in given])
        if withdrawn := [topic for topic, on in changed.items() if not on]:
            await self._withdraw(scope, claims, withdrawn, "preferences")

    async def _withdraw(self, scope: Scope, claims: Claims, topics: list[str], source: str) -> None:
        await self._engine.change_ledger([self._row(scope, claims, topic, False, source) for topic in topics])
        if (claims.topic or IMPLICIT_TOPIC) in topics:
            await self._tell(claims, "unsubscribed", {"topic": claims.topic or IMPLICIT_TOPIC, "source": source})

    def _row(self, scope: Scope, claims: Claims, topic: str, given: bool, source: str) -> LedgerRow:
        now = self._engine.clock.now()
        return LedgerRow(claims.address, topic, given, now, source, proof=_evidence(scope, claims))

    def _consent(self, address: str) -> dict[str, bool]:
        """Every topic of the plan and what this address says to it, or what holds without a word."""
        declared = self._engine.plan.document.get("policies", {}).get("topics", {})
        topics = {IMPLICIT_TOPIC: {"consent": "assumed"}, **declared}
        said = {row.topic: row.given for row in self._engine.store.ledger(address)}
        return {name: said.get(name, topic.get("consent") == "assumed") for name, topic in topics.items()}

    async def _form(self, scope: Scope, receive: Receive) -> bytes:
        """The body, or nothing when it is unusable: a withdrawal needs no body."""
        try:
            return await self._reader.read(dict(scope["headers"]), receive, _FORM_BYTES)
        except Problem:
            return b""

    # -- engagement --

    async def _click(self, scope: Scope, _receive: Receive, claims: Claims) -> Reply:
        await self._tell(claims, "clicked", {"url": claims.url}, machine=self._is_machine(scope, claims))
        return Reply(302, b"", ((b"location", _location(claims.url)), (b"referrer-policy", b"no-referrer"), *NO_STORE))

    async def _open(self, scope: Scope, _receive: Receive, claims: Claims) -> Reply:
        await self._tell(claims, "opened", {}, machine=self._is_machine(scope, claims))
        return Reply(200, _PIXEL, _GIF)

    def _is_machine(self, scope: Scope, claims: Claims) -> bool:
        agent = dict(scope["headers"]).get(b"user-agent", b"").decode("latin-1")
        sent_at = self._sent_at(claims.message_id)
        since = self._engine.clock.now() - sent_at if sent_at else None
        return is_machine(scope["method"], agent, since)

    def _sent_at(self, message_id: str) -> int:
        """0 when it is not known: nobody who follows a link waits for a store that is away."""
        with suppress(StoreAway):
            message = self._engine.store.message(message_id)
            return message.sent_at if message else 0
        return 0

    async def _tell(self, claims: Claims, kind: str, properties: dict[str, Any], *, machine: bool = False) -> None:
        outcome = Outcome(claims.message_id, kind, self._engine.clock.now(), machine=machine, properties=properties)
        with suppress(Busy):
            await self._engine.feedback([outcome])


def _evidence(scope: Scope, claims: Claims) -> str:
    """Which mail's link it was, and from which address of the net it was followed."""
    client = scope.get("client")
    return f"message {claims.message_id}" + (f" from {client[0]}" if client else "")


def _location(url: str) -> bytes:
    """The destination as a header carries it: no control characters, no bytes beyond ASCII."""
    return b"".join(
        bytes((byte,)) if 0x20 < byte < 0x7F else b"%%%02X" % byte for byte in url.encode("utf-8", "replace")
    )
