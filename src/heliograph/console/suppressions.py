"""The suppression list: addresses that are stopped, by whom and why, and who let them go again.

A suppression is a word in the ledger on a topic of ours (``!manual``, ``!bounce``, ``!complaint``).  Letting an address
go is a later word, not an erasure: who did it and why stays on record.
"""

from collections.abc import Iterator
from typing import Annotated, Final, Literal

import msgspec
from litestar import Router, delete, get, post, put
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from heliograph.console.problems import cursors
from heliograph.console.slashes import as_sent
from heliograph.deliver.commit import STOPS_ALL, STOPS_MARKETING
from heliograph.events.identity import normalise_address
from heliograph.events.record import LedgerRow
from heliograph.ports import Engine

Kind = Literal["manual", "bounce", "complaint"]
Reach = Literal["", "marketing", "all"]

MAX_IMPORT: Final = 5_000
"""Suppressions in one call; ``heliograph import`` splits longer files."""
PART: Final = 250
"""Of them decided at a time: some 15 ms in which other work waits."""
MAX_REASON: Final = 500
"""Characters kept, as of a receiver's reply."""
MAX_SOURCE: Final = 200
READS: Final = 50
"""Of the store for one page of one kind; where that is not enough the page is short, and its cursor goes on."""

Limit = Annotated[int, Parameter(ge=1, le=1000)]


class Suppression(msgspec.Struct, frozen=True):
    """``kind``: bounce and manual stop all mail, complaint stops marketing.  ``source``: who or what said so;
    ``reason``: why, or the receiver's reply."""

    address: str
    kind: str
    at: int
    source: str
    reason: str


class Suppressions(msgspec.Struct, frozen=True):
    suppressions: list[Suppression]
    next: str | None


class Word(msgspec.Struct, frozen=True):
    """The present word of one kind: ``stopped``, or let go again, when, by whom and why."""

    kind: str
    stopped: bool
    at: int
    source: str
    reason: str


class Standing(msgspec.Struct, frozen=True):
    """``stops``: all mail, marketing, or nothing ("")."""

    address: str
    stops: Reach
    words: list[Word]


class SuppressRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``by``: who asks for it, kept as the source."""

    reason: str = ""
    kind: Kind = "manual"
    by: str = "api"


class Imported(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a list from elsewhere.  ``at`` (ms): since when; without it, now."""

    address: str
    kind: Kind = "manual"
    reason: str = ""
    source: str = "import"
    at: int | None = None


class ImportRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    suppressions: list[Imported]


class Refused(msgspec.Struct, frozen=True):
    """``row``: its place in the call, from 0."""

    row: int
    reason: str


class ImportResult(msgspec.Struct, frozen=True):
    """``known``: said already, changes nothing."""

    accepted: int
    known: int
    refused: list[Refused]


def address_or_400(text: str) -> str:
    if address := normalise_address(as_sent(text)):
        return address
    raise HTTPException(f"{as_sent(text)!r} is not an email address", status_code=400)


def router(engine: Engine) -> Router:
    @get("/", summary="Addresses that get no mail; a page may be shorter than its limit, `next` tells whether it ends")
    async def suppressions(
        limit: Limit = 100, cursor: str | None = None, kind: Kind | None = None, prefix: str = ""
    ) -> Suppressions:
        with cursors():
            rows, following = page(engine, limit, cursor, kind, prefix.strip().lower())
        return Suppressions([suppression_of(row) for row in rows], following)

    @get("/{address:str}", summary="What stops this address, and what was let go, when, by whom and why")
    async def suppression(address: str) -> Standing:
        return standing(engine, address_or_400(address))

    @put("/{address:str}", summary="Stop mail to this address", status_code=200)
    async def add(address: str, data: SuppressRequest | None = None) -> Suppression:
        asked, normal = data or SuppressRequest(), address_or_400(address)
        word = row_of(Imported(normal, asked.kind, asked.reason, asked.by), normal, engine.clock.now())
        old = words(engine, normal).get(word.topic)
        word = msgspec.structs.replace(word, at=max(word.at, old.at)) if old else word
        await engine.change_ledger([word])
        return suppression_of(word)

    @delete(
        "/{address:str}",
        summary="Let mail to this address go again; a bounce or complaint needs a reason",
        status_code=200,
    )
    async def remove(address: str, kind: Kind | None = None, reason: str = "", by: str = "api") -> Standing:
        normal = address_or_400(address)
        stopped = [row for row in words(engine, normal).values() if not row.given and kind in (None, row.topic[1:])]
        if not stopped:
            raise NotFoundException(f"{normal} is not suppressed" + (f" by a {kind}" if kind else ""))
        if not reason.strip() and any(row.topic != "!manual" for row in stopped):
            stops = " and a ".join(row.topic[1:] for row in stopped)
            said = f"{normal} was stopped by a {stops}: say why it may get mail again (reason=...); that is kept"
            raise HTTPException(said, status_code=400)
        now = engine.clock.now()
        await engine.change_ledger([let_go(row, now, by, reason) for row in stopped])
        return standing(engine, normal)

    return Router("/suppressions", route_handlers=[suppressions, suppression, add, remove], tags=["suppressions"])


def import_router(engine: Engine) -> Router:
    @post("/suppressions", summary="Take over a list of stopped addresses from elsewhere", status_code=200)
    async def take(data: ImportRequest) -> ImportResult:
        if len(data.suppressions) > MAX_IMPORT:
            raise HTTPException(f"at most {MAX_IMPORT} a call; send the rest in further calls", status_code=413)
        taken = Taking(engine)
        for start in range(0, len(data.suppressions), PART):
            await engine.change_ledger(list(taken.rows(start, data.suppressions[start : start + PART])))
        return ImportResult(taken.accepted, taken.known, taken.refused)

    return Router("/import", route_handlers=[take], tags=["import", "suppressions"])


class Taking:
    """One import under way, and what became of its rows so far."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.accepted = self.known = 0
        self.refused: list[Refused] = []

    def rows(self, start: int, part: list[Imported]) -> Iterator[LedgerRow]:
        """The rows of a part that say something new."""
        now = self._engine.clock.now()
        seen: set[tuple[str, str]] = set()
        for number, asked in enumerate(part, start):
            address = normalise_address(asked.address)
            if address is None:
                self.refused.append(Refused(number, f"{asked.address[:100]!r} is not an email address"))
                continue
            row = row_of(asked, address, now)
            old = words(self._engine, address).get(row.topic)
            if (address, row.topic) in seen or (old is not None and not old.given):
                self.known += 1
            elif old is not None and old.at > row.at:
                self.refused.append(Refused(number, f"{address} was let go by {old.source or 'hand'} after that"))
            else:
                seen.add((address, row.topic))
                self.accepted += 1
                yield row


def page(
    engine: Engine, limit: int, cursor: str | None, kind: str | None, prefix: str
) -> tuple[list[LedgerRow], str | None]:
    """The next ``limit`` rows of a kind, or fewer."""
    found: list[LedgerRow] = []
    for _ in range(READS):
        rows, cursor = engine.store.suppressions(limit - len(found), cursor, prefix=prefix)
        found += [row for row in rows if kind is None or row.topic == "!" + kind]
        if cursor is None or len(found) == limit:
            break
    return found, cursor


def words(engine: Engine, address: str) -> dict[str, LedgerRow]:
    """Suppression topic -> its present word."""
    return {row.topic: row for row in engine.store.ledger(address) if row.topic.startswith("!")}


def standing(engine: Engine, address: str) -> Standing:
    said = words(engine, address)
    stopped = {topic for topic, row in said.items() if not row.given}
    reach: Reach = "all" if stopped & {*STOPS_ALL} else "marketing" if stopped & {*STOPS_MARKETING} else ""
    shown = [Word(row.topic[1:], not row.given, row.at, row.source, row.proof) for row in said.values()]
    return Standing(address, reach, shown)


def row_of(asked: Imported, address: str, now: int) -> LedgerRow:
    """The word that stops an address; nothing is dated into the future, where no later word could lift it."""
    at = now if asked.at is None else min(max(asked.at, 0), now)
    return LedgerRow(address, "!" + asked.kind, False, at, asked.source[:MAX_SOURCE], proof=asked.reason[:MAX_REASON])


def let_go(row: LedgerRow, now: int, by: str, reason: str) -> LedgerRow:
    """The word that lifts a suppression; it is later than that, or it would not count."""
    at = max(now, row.at + 1)
    return LedgerRow(row.address, row.topic, True, at, by[:MAX_SOURCE], proof=reason.strip()[:MAX_REASON])


def suppression_of(row: LedgerRow) -> Suppression:
    return Suppression(row.address, row.topic[1:], row.at, row.source, row.proof)
