"""Turning rows into calls and sending them.

Imports are idempotent by content: the id of a call is a hash of its row, its time comes from the row or the file, so
the same row says the same thing however often it is sent.  They carry ``context.historical`` and so trigger nothing.

A consent whose time nobody knows is dated :data:`LONG_AGO`: it counts where there is no other word, and never overrides
a withdrawal that somebody made since.
"""

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from heliograph.cli import stopping
from heliograph.cli.client import Server, ServerError, segment
from heliograph.cli.rows import BadRow, Row, unfold
from heliograph.events.identity import normalise_address
from heliograph.events.ids import make_id
from heliograph.events.instants import parse_instant

KINDS = ("people", "list", "suppressions", "events")
LONG_AGO = "2000-01-01T00:00:00.000Z"
MAX_CALLS = 500
MAX_BYTES = 400 * 1024
"""Of one batch: under the server's 500 KB with room for the envelope."""
LIST_PART = 5_000
IDENTITY = ("user_id", "anonymous_id", "email")


class Options(NamedTuple):
    kind: str
    list_name: str = ""
    topic: str = ""
    consent_source: str = ""
    consent_at: str = ""
    suppress_as: str = ""


class Tally(NamedTuple):
    """``new`` and ``known`` count rows; ``bad`` says why the others were not taken."""

    new: int
    known: int
    bad: list[BadRow]


class Call(NamedTuple):
    """One event on its way, and the row it is from."""

    line: int
    body: dict[str, Any]


def instant(text: str) -> int | None:
    """An RFC 3339 instant as ms, None when it is none."""
    return parse_instant(text)


def file_time(file: Path) -> str:
    """When the file was written: the time of rows that say none."""
    return datetime.fromtimestamp(int(file.stat().st_mtime), UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def run(server: Server, options: Options, rows: list[Row], written_at: str) -> Tally:
    """Send all rows of one file."""
    if options.kind == "list":
        return _lists(server, options.list_name, rows)
    if options.kind == "suppressions":
        return Tally(*stopping.send(server, stopping.read(rows, options.suppress_as)))
    make = _people if options.kind == "people" else _events
    calls, bad = _made(make, options, rows, written_at)
    return _send(server, calls, bad)


_Maker = Callable[[Options, Row, str], Iterator[dict[str, Any]]]


def _made(make: _Maker, options: Options, rows: list[Row], written_at: str) -> tuple[list[Call], list[BadRow]]:
    calls: list[Call] = []
    bad: list[BadRow] = []
    for row in rows:
        try:
            calls += [Call(row.line, body) for body in make(options, row, written_at)]
        except ValueError as error:
            bad.append(BadRow(row.line, str(error)))
    return calls, bad


# -- people --


def _people(options: Options, row: Row, written_at: str) -> Iterator[dict[str, Any]]:
    """One identify with the traits, and a second one with the consent, dated by when it was given."""
    values = dict(row.values)
    who = _identity(values)
    _check_address(values)
    consent = _consent(options, values)
    timestamp = _timestamp(values.pop("timestamp", None), written_at)
    given_at = values.pop("consent_at", None)
    traits = unfold({name: value for name, value in values.items() if name not in IDENTITY})
    if "email" in values:
        traits["email"] = values["email"]
    content = msgspec.json.encode(row.values, order="deterministic")
    yield _call("identify", make_id("import", "people", content), who, timestamp, traits=traits)
    if consent:
        at = _timestamp(given_at, options.consent_at or (timestamp if "timestamp" in row.values else LONG_AGO))
        said = msgspec.json.encode([consent, options.consent_source, at], order="deterministic")
        address = {"email": traits["email"]} if "email" in traits else {}
        body = _call("identify", make_id("import", "consent", content, said), who, at, traits=address)
        body["context"]["consent"] = {"categoryPreferences": consent}
        if options.consent_source:
            body["context"]["consent"]["source"] = options.consent_source
        yield body


def topics_of(options: Options, rows: Iterable[Row]) -> set[str]:
    """The consent topics that a file speaks of."""
    names = {name for row in rows for name in row.values if name.startswith("consent.")}
    return {name.removeprefix("consent.") for name in names} | ({options.topic} if options.topic else set())


def _consent(options: Options, values: dict[str, Any]) -> dict[str, bool]:
    """Topic -> yes or no: columns ``consent.TOPIC``, else the topic that is said for all."""
    consent = {options.topic: True} if options.topic else {}
    for name in [name for name in values if name.startswith("consent.")]:
        value = values.pop(name)
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be true or false, not {value!r}")
        consent[name.removeprefix("consent.")] = value
    return consent


def _identity(values: dict[str, Any]) -> dict[str, str]:
    """``userId`` and ``anonymousId`` of a row; an address alone is enough."""
    who = {
        wire: str(values[name])
        for wire, name in (("userId", "user_id"), ("anonymousId", "anonymous_id"))
        if values.get(name) not in (None, "")
    }
    if not who and not values.get("email"):
        raise ValueError("no user_id, anonymous_id or email: whose is it?")
    return who


def _check_address(values: dict[str, Any]) -> None:
    address = values.get("email")
    if address is not None and (not isinstance(address, str) or normalise_address(address) is None):
        raise ValueError(f"{address!r} is not an email address")


def _timestamp(value: Any, otherwise: str) -> str:
    if value in (None, ""):
        return otherwise
    if not isinstance(value, str) or parse_instant(value) is None:
        raise ValueError(f"{value!r} is no RFC 3339 instant like 2024-05-01T12:00:00Z")
    return value


def _call(kind: str, message_id: str, who: dict[str, str], timestamp: str, **fields: Any) -> dict[str, Any]:
    context = {"historical": True, "library": {"name": "heliograph import"}}
    return {"type": kind, "messageId": message_id, "timestamp": timestamp, **who, **fields, "context": context}


# -- events --


def _events(_options: Options, row: Row, written_at: str) -> Iterator[dict[str, Any]]:
    """A past event: a Segment call as it is (JSON lines), or made from columns (event, timestamp, properties)."""
    content = msgspec.json.encode(row.values, order="deterministic")
    message_id = make_id("import", "events", content)
    if "type" in row.values and ("context" in row.values or "properties" in row.values or "traits" in row.values):
        yield _past_call(row.values, message_id)
        return
    values = dict(row.values)
    who = _identity(values)
    _check_address(values)
    event = values.pop("event", None)
    if not event:
        raise ValueError("no event: what happened?")
    if "timestamp" not in values:
        raise ValueError("no timestamp: when was it?")
    timestamp = _timestamp(values.pop("timestamp"), written_at)
    given = values.pop("message_id", None)
    address = values.pop("email", None)
    properties = unfold({name: value for name, value in values.items() if name not in IDENTITY})
    body = _call("track", str(given or message_id), who, timestamp, event=str(event), properties=properties)
    if address:
        body["context"]["traits"] = {"email": address}
    yield body


_WIRE = {"user_id": "userId", "anonymous_id": "anonymousId", "message_id": "messageId"}


def _past_call(values: dict[str, Any], message_id: str) -> dict[str, Any]:
    call = {_WIRE.get(name, name): value for name, value in values.items()}
    if not call.get("timestamp"):
        raise ValueError("no timestamp: when was it?")
    call.setdefault("messageId", message_id)
    context = call.get("context")
    call["context"] = {**(context if isinstance(context, dict) else {}), "historical": True}
    return call


# -- sending --


def _send(server: Server, calls: list[Call], bad: list[BadRow]) -> Tally:
    """Post in batches; a row is known when all its calls were, bad when one of them was."""
    known: dict[int, bool] = {}
    refused: dict[int, str] = {}
    for batch in _batches(calls):
        for call, result in zip(batch, server.batch([call.body for call in batch]), strict=True):
            status = result["status"]
            if status not in ("accepted", "duplicate"):
                refused.setdefault(call.line, f"{status}: {result['reason']}")
            known[call.line] = known.get(call.line, True) and status == "duplicate"
    taken = [line for line in known if line not in refused]
    bad = bad + [BadRow(line, reason) for line, reason in refused.items()]
    seen = sum(known[line] for line in taken)
    return Tally(len(taken) - seen, seen, bad)


def _batches(calls: list[Call]) -> Iterator[list[Call]]:
    batch: list[Call] = []
    size = 0
    for call in calls:
        weight = len(msgspec.json.encode(call.body)) + 1
        if batch and (len(batch) == MAX_CALLS or size + weight > MAX_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(call)
        size += weight
    if batch:
        yield batch


# -- lists --


def _lists(server: Server, name: str, rows: list[Row]) -> Tally:
    people: dict[str, int] = {}
    bad: list[BadRow] = []
    repeated = 0
    for row in rows:
        try:
            who = _identity(row.values)
            _check_address(row.values)
        except ValueError as error:
            bad.append(BadRow(row.line, str(error)))
            continue
        person = who.get("userId") or ("anon:" + who["anonymousId"] if "anonymousId" in who else row.values["email"])
        repeated += person in people
        people.setdefault(person, row.line)
    before = _members(server, name)
    names = list(people)
    for start in range(0, len(names), LIST_PART):
        answer = server.post(f"/import/lists/{segment(name)}", {"people": names[start : start + LIST_PART]})
        bad += [BadRow(people.pop(one), f"nobody can be called {one!r}") for one in answer["unknown"]]
    new = max(0, _members(server, name) - before)
    return Tally(new, len(people) - new + repeated, bad)


def _members(server: Server, name: str) -> int:
    """How many are on a list; one that does not exist yet has none."""
    try:
        return int(server.get(f"/segments/{segment(name)}/members", limit=1)["count"])
    except ServerError as error:
        if error.status == 404:
            return 0
        raise
