"""Suppression lists from elsewhere: what other mailers call their columns and their reasons.

Read from the exports of Amazon SES, Mailchimp, Mailgun, Postmark and SendGrid, and from our own (which comes back as it
went).  An unsubscribe is no suppression: it is a word on a topic, and receipts still go to whoever said it.
"""

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NamedTuple

from heliograph.cli.client import Server
from heliograph.cli.rows import BadRow, Row
from heliograph.events.identity import normalise_address
from heliograph.events.instants import parse_instant

KINDS: Final = ("manual", "bounce", "complaint")
PART: Final = 2_000
"""Rows in one call."""

ADDRESSES: Final = ("email", "address", "recipient")
KIND_COLUMNS: Final = ("kind", "type", "suppressionreason", "reason", "event")
REASONS: Final = ("reason", "error", "suppressionreason", "cleancampaigntitle", "unsubreason", "status")
INSTANTS: Final = ("created", "createdat", "at", "lastupdatetime", "cleantime", "unsubtime", "timestamp", "date")
"""Columns in the order in which they are asked, written without blanks, dashes and underscores."""

WORDS: Final = {
    **dict.fromkeys(("manual", "manualsuppression", "blocked", "blocklist", "blacklist"), "manual"),
    **dict.fromkeys(("bounce", "bounced", "hardbounce", "permanentbounce", "cleaned", "invalid"), "bounce"),
    **dict.fromkeys(("complaint", "complained", "spam", "spamcomplaint", "spamreport", "abuse", "abusecomplaint"),
                    "complaint"),
    **dict.fromkeys(("unsubscribe", "unsubscribed", "optout"), "unsubscribe"),
}  # fmt: skip
"""What they say of a row -> our kind."""

UNSUBSCRIBED: Final = (
    "unsubscribed: import it with --kind people and a column consent.TOPIC that is false, "
    "or stop even receipts with --as manual"
)


class Stops(NamedTuple):
    """Rows as the API takes them, with the lines they are from."""

    lines: list[int]
    rows: list[dict[str, Any]]
    bad: list[BadRow]


def read(rows: Iterable[Row], kind: str = "") -> Stops:
    """``kind``: of every row, whatever it says itself."""
    stops = Stops([], [], [])
    for row in rows:
        try:
            stop = _stop(row.values, kind)
        except ValueError as error:
            stops.bad.append(BadRow(row.line, str(error)))
            continue
        stops.lines.append(row.line)
        stops.rows.append(stop)
    return stops


def _stop(values: dict[str, Any], kind: str) -> dict[str, Any]:
    said = {_fold(name): value for name, value in values.items() if value not in (None, "")}
    written = _first(said, ADDRESSES)
    if written is None:
        raise ValueError("no email")
    if not isinstance(written, str) or normalise_address(written) is None:
        raise ValueError(f"{written!r} is not an email address")
    found = kind or _kind(said)
    if found == "unsubscribe":
        raise ValueError(UNSUBSCRIBED)
    stop: dict[str, Any] = {"address": written, "kind": found, "reason": str(_first(said, REASONS) or "")}
    if "source" in said:
        stop["source"] = str(said["source"])
    if (written_at := _first(said, INSTANTS)) is not None:
        stop["at"] = instant(written_at)
    return stop


def _kind(said: dict[str, Any]) -> str:
    """The first column that says one of :data:`WORDS`; Mailchimp's two files tell themselves by a column."""
    for name in KIND_COLUMNS:
        if word := WORDS.get(_fold(str(said.get(name, "")))):
            return word
    return "bounce" if "cleantime" in said else "unsubscribe" if "unsubtime" in said else "manual"


def _first(said: dict[str, Any], names: Iterable[str]) -> Any:
    return next((said[name] for name in names if name in said), None)


def _fold(text: str) -> str:
    folded = re.sub(r"[\s_\-]", "", text).lower()
    return "email" if folded == "emailaddress" else folded


def instant(value: Any) -> int:
    """Milliseconds: RFC 3339 and its relatives, an epoch number, or the date of a mail (RFC 5322)."""
    at = parse_instant(value) if isinstance(value, str | int | float) else None
    if at is None:
        try:
            at = int(parsedate_to_datetime(str(value)).timestamp() * 1000)
        except ValueError:
            raise ValueError(f"{value!r} is no instant like 2024-05-01T12:00:00Z") from None
    return at


def send(server: Server, stops: Stops) -> tuple[int, int, list[BadRow]]:
    """(new, known, bad)."""
    new = known = 0
    bad = list(stops.bad)
    for start in range(0, len(stops.rows), PART):
        answer = server.post("/import/suppressions", {"suppressions": stops.rows[start : start + PART]})
        new += answer["accepted"]
        known += answer["known"]
        bad += [BadRow(stops.lines[start + one["row"]], one["reason"]) for one in answer["refused"]]
    return new, known, bad


# -- our own export --

COLUMNS: Final = ("email", "kind", "reason", "created", "source")


def exported(suppression: dict[str, Any]) -> list[str]:
    """A row of our export.  What the receiver said may hold anything; here it is one line of printable text."""
    at = datetime.fromtimestamp(suppression["at"] / 1000, UTC).isoformat(timespec="milliseconds")
    cells = (suppression["address"], suppression["kind"], suppression["reason"], at, suppression["source"])
    return [_one_line(cell) for cell in cells]


def _one_line(text: str) -> str:
    printable = "".join(one if one.isprintable() else " " for one in text)
    return " ".join(printable.split())


def pages(server: Server, **query: Any) -> Iterator[dict[str, Any]]:
    """Every suppression that the server has."""
    cursor = None
    while True:
        page = server.get("/suppressions", limit=1000, cursor=cursor, **query)
        yield from page["suppressions"]
        cursor = page["next"]
        if not cursor:
            return
