"""From the wire to events: Segment's HTTP calls, read liberally, bounded strictly.

Pure: the time of arrival and a source of ids come in as arguments.  How it goes::

    one call    body ------------------------------------> decode_call(type, body, ...) -> Arrival
    a batch     body -> open_batch -> Batch(items: Raw) -> decode_batch(batch, ...) -----> [Arrival]

What is liberal: numbers as ids, ``[]`` for an empty object (PHP), every spelling of an instant, nearly-JSON
(:mod:`heliograph.events.repair`), unknown fields, ``integrations``.  What is strict is in
:mod:`heliograph.events.limits`, and an event must say whose it is.  A call that cannot become an event is an
:class:`Arrival` with ``refused`` set: one sentence that tells its sender what to do.
"""

import re
from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import msgspec

from heliograph.events.event import EVENT_NAMES, PRODUCT_EVENTS, Event
from heliograph.events.identity import key_of
from heliograph.events.instants import parse_instant
from heliograph.events.limits import (
    MAX_BATCH_EVENTS,
    MAX_DEPTH,
    MAX_EVENT_BYTES,
    MAX_ID_BYTES,
    MAX_MESSAGE_ID,
    MAX_NAME_BYTES,
)
from heliograph.events.repair import repair, storable

CALL_TYPES = ("track", "identify", "page", "screen", "group", "alias")
"""Segment's calls; each has an endpoint of its name and a short one of its first letter."""

_T = TypeVar("_T")
MakeId: TypeAlias = Callable[[], str]
_Text: TypeAlias = str | int | float | None
_Object: TypeAlias = dict[str, Any] | list[Any] | None


class Arrival(msgspec.Struct, frozen=True):
    """One call at the door, decoded and within limits.  ``raw``: its JSON as received (kept if it becomes a dead
    letter); ``refused``: the reason when decoding already said no, then ``event`` is None."""

    message_id: str
    event: Event | None
    raw: bytes
    refused: str = ""


class Refused(ValueError):
    """The sender has to change something; the text is the sentence that says what."""


class TooMany(Refused):
    """More items than one batch may have."""


class _Call(msgspec.Struct, rename="camel"):
    """One call as Segment's libraries write it."""

    type: Any = None
    event: _Text = None
    name: _Text = None
    category: _Text = None
    user_id: _Text = None
    anonymous_id: _Text = None
    previous_id: _Text = None
    group_id: _Text = None
    message_id: _Text = None
    timestamp: _Text = None
    original_timestamp: _Text = None
    sent_at: _Text = None
    properties: _Object = None
    traits: _Object = None
    context: _Object = None
    write_key: Any = None


class Batch(msgspec.Struct, rename="camel"):
    """The envelope of ``/v1/batch``.  ``context`` lies beneath the context of every item."""

    batch: list[msgspec.Raw]
    sent_at: Any = None
    context: Any = None
    write_key: Any = None


class _Id(msgspec.Struct, rename="camel"):
    message_id: Any = None


class _Key(msgspec.Struct, rename="camel"):
    write_key: Any = None


_CALL = msgspec.json.Decoder(_Call)
_BATCH = msgspec.json.Decoder(Batch)
_ID = msgspec.json.Decoder(_Id)
_KEY = msgspec.json.Decoder(_Key)
_PROBE = msgspec.msgpack.Encoder()
_NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError)
_NUL = rb"\u0000"


# -- a batch ---------------------------------------------------------------------------------------------------------


def open_batch(body: bytes) -> Batch:
    """The envelope with its items unread; :class:`Refused` when it is none, :class:`TooMany` beyond 2,500 items."""
    try:
        batch = _read(_BATCH, body)
    except Refused as error:
        raise Refused(f'the batch cannot be read: {error}; send {{"batch": [call, ...], "sentAt": "..."}}') from None
    if len(batch.batch) > MAX_BATCH_EVENTS:
        raise TooMany(
            f"{len(batch.batch):,} calls in one batch; send at most {MAX_BATCH_EVENTS:,} and put the rest into another"
        )
    return batch


def decode_batch(batch: Batch, received_at: int, make_id: MakeId) -> list[Arrival]:
    """One arrival per item, in order.  Never raises: an item that is bad does not stop its neighbours."""
    sent_at = batch.sent_at if isinstance(batch.sent_at, str | int | float) else None
    sent_ms = parse_instant(sent_at) if sent_at is not None else None
    context = batch.context if isinstance(batch.context, dict) else {}
    return [_arrive(None, bytes(raw), received_at, make_id, sent_ms, context) for raw in batch.batch]


# -- one call --------------------------------------------------------------------------------------------------------


def decode_call(type: str, body: bytes, received_at: int, make_id: MakeId) -> Arrival:
    """The arrival of a single call; ``type`` is its endpoint's, whatever the body says."""
    return _arrive(type, body, received_at, make_id, None, {})


def write_key_of(body: bytes) -> str | None:
    """``writeKey`` at the top of a body, for browsers that cannot set headers; None without one."""
    try:
        key = _read(_KEY, body).write_key
    except Refused:
        return None
    return key if isinstance(key, str) and key else None


def _arrive(
    type: str | None,
    raw: bytes,
    received_at: int,
    make_id: MakeId,
    sent_ms: int | None,
    envelope_context: dict[str, Any],
) -> Arrival:
    """``type`` None: the item names it.  ``sent_ms``: the envelope's ``sentAt``, used when the call has none."""
    try:
        if len(raw) > MAX_EVENT_BYTES:
            raise Refused(
                f"the event has {len(raw):,} bytes of JSON; the limit is {MAX_EVENT_BYTES:,}: send less in one event"
            )
        call = _read(_CALL, raw)
        event = _event(call, type or _type(call.type), raw, received_at, make_id, sent_ms, envelope_context)
    except Refused as error:
        return Arrival(_message_id_of(raw) or make_id(), None, raw, str(error))
    return Arrival(event.event_id, event, raw)


def _event(
    call: _Call,
    type: str,
    raw: bytes,
    received_at: int,
    make_id: MakeId,
    sent_ms: int | None,
    envelope_context: dict[str, Any],
) -> Event:
    properties, traits = _object("properties", call.properties), _object("traits", call.traits)
    context = _object("context", call.context)
    if type in ("page", "screen"):
        properties = _with_titles(call, properties)
    elif type == "group":
        properties, traits = traits, {}
    event = Event(
        event_id=_message_id(call.message_id) or make_id(),
        type=type,
        name=_name(call, type),
        occurred_at=_occurred_at(call, received_at, sent_ms),
        user_id=_id("userId", call.user_id),
        anonymous_id=_id("anonymousId", call.anonymous_id),
        previous_id=_id("previousId", call.previous_id) if type == "alias" else None,
        group_id=_id("groupId", call.group_id) if type == "group" else None,
        properties=properties,
        traits=traits if type == "identify" else {},
        context={**envelope_context, **context} if envelope_context else context,
    )
    event = _kept(event, raw)
    _complete(event)
    return event


def _type(type: Any) -> str:
    if type in CALL_TYPES:
        return str(type)
    if type is None:
        raise Refused(f'the call has no "type"; give one of {", ".join(CALL_TYPES)}')
    raise Refused(f'"type" must be one of {", ".join(CALL_TYPES)}, not {_shown(type)}')


def _name(call: _Call, type: str) -> str:
    if type != "track":
        return EVENT_NAMES.get(type, "")
    name = _text(call.event)
    if not name:
        raise Refused('a track call needs "event", the name of what happened')
    if name in PRODUCT_EVENTS:
        raise Refused(f'"{name}" is an event that only Heliograph itself records; give yours another name')
    if len(name) > MAX_NAME_BYTES // 4 and len(name.encode()) > MAX_NAME_BYTES:
        raise Refused(f'"event" is longer than {MAX_NAME_BYTES:,} bytes; put details into properties')
    return name


def _complete(event: Event) -> None:
    """Refuse an event that misses what its type lives on."""
    if key_of(event) is None:
        raise Refused("nobody is named: give userId, anonymousId, or an email address in the traits")
    if event.type == "alias" and not (event.user_id and (event.previous_id or event.anonymous_id)):
        raise Refused("an alias call needs userId (the new name) and previousId (the old one)")
    if event.type == "group" and not event.group_id:
        raise Refused('a group call needs "groupId"')
    if event.type == "identify" and "consent" in event.context:
        _consent(event.context["consent"])


def _consent(consent: Any) -> None:
    """What somebody said about a topic must be understood, or nobody may believe that it was heard."""
    preferences = consent.get("categoryPreferences") if isinstance(consent, dict) else None
    if preferences is None:
        return
    if not isinstance(preferences, dict):
        said = _shown(preferences)
        raise Refused(f"context.consent.categoryPreferences must be topics with true or false, not {said}")
    for topic, given in preferences.items():
        if not isinstance(given, bool):
            raise Refused(f"consent to {_shown(topic)} must be true or false, not {_shown(given)}")


def _with_titles(call: _Call, properties: dict[str, Any]) -> dict[str, Any]:
    """``name`` and ``category`` of a page or screen are matched as properties."""
    titles = {"name": _text(call.name), "category": _text(call.category)}
    return {key: title for key, title in titles.items() if title} | properties


# -- instants --------------------------------------------------------------------------------------------------------


def _occurred_at(call: _Call, received_at: int, sent_ms: int | None) -> int:
    """``min(receivedAt - (sentAt - originalTimestamp), receivedAt)``: the sender's clock drops out (Segment's spec).

    Without ``sentAt`` the timestamp is taken at its word; without a timestamp it happened on arrival.  A ``sentAt``
    that makes no sense corrects nothing.
    """
    original = call.timestamp if call.original_timestamp is None else call.original_timestamp
    if original is None or original == "":
        return received_at
    at = parse_instant(original)
    if at is None:
        raise Refused(f"the timestamp {_shown(original)} is not an RFC 3339 instant such as 2026-01-31T09:30:00Z")
    if call.sent_at is not None:
        sent_ms = parse_instant(call.sent_at)
    corrected = at if sent_ms is None else received_at - (sent_ms - at)
    return max(0, min(corrected, received_at))


# -- values ----------------------------------------------------------------------------------------------------------


def _text(value: _Text) -> str:
    """Text of an id or name; numbers (which real libraries send) as they would print."""
    if type(value) is str:
        return value
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _id(field: str, value: _Text) -> str | None:
    """An identity, or None when it is absent or blank."""
    if value is None:
        return None
    text = _text(value)
    if not text or text.isspace():
        return None
    if len(text) > MAX_ID_BYTES // 4 and len(text.encode()) > MAX_ID_BYTES:
        raise Refused(f'"{field}" is longer than {MAX_ID_BYTES:,} bytes; use a shorter id')
    return text


def _message_id(value: _Text) -> str:
    text = _text(value)
    if len(text) > MAX_MESSAGE_ID:
        raise Refused(f'"messageId" has {len(text):,} characters; the limit is {MAX_MESSAGE_ID}')
    return text.replace("\0", "")


def _object(field: str, value: _Object) -> dict[str, Any]:
    if value is None:
        return {}
    if isinstance(value, dict):
        return value
    if value:
        raise Refused(f'"{field}" must be an object, not a list')
    return {}


def _kept(event: Event, raw: bytes) -> Event:
    """The event as stores and templates can carry it, within the bound on depth."""
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH and any(
        _deeper(field, MAX_DEPTH) for field in (event.properties, event.traits, event.context)
    ):
        raise Refused(f"objects and lists are more than {MAX_DEPTH} deep; send a flatter event")
    if _NUL in raw or not _packable(event):
        return Event(*(storable(getattr(event, name)) for name in Event.__struct_fields__))
    return event


def _packable(event: Event) -> bool:
    try:
        _PROBE.encode(event)
    except OverflowError:
        return False
    return True


def _deeper(value: Any, levels: int) -> bool:
    """Whether objects and lists lie inside each other more than ``levels`` deep."""
    layer = [value]
    for _ in range(levels):
        layer = [item for node in layer for item in _children(node)]
        if not layer:
            return False
    return True


def _children(node: Any) -> list[Any]:
    items = node.values() if isinstance(node, dict) else node
    return [item for item in items if isinstance(item, dict | list)]


# -- reading ---------------------------------------------------------------------------------------------------------


def _read(decoder: "msgspec.json.Decoder[_T]", body: bytes) -> _T:
    """Decode; nearly-JSON is repaired first; what remains wrong is :class:`Refused` in words."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refused(_explained(str(error))) from None
    except RecursionError:
        raise Refused("objects and lists are nested far too deep; send a flatter event") from None
    except _NOT_JSON as error:
        repaired = repair(body)
        if repaired is None:
            raise Refused(_not_json(body, error)) from None
    try:
        return decoder.decode(repaired)
    except msgspec.ValidationError as error:
        raise Refused(_explained(str(error))) from None
    except (*_NOT_JSON, RecursionError) as error:
        raise Refused(_not_json(body, error)) from None


def _message_id_of(raw: bytes) -> str:
    """The id that a refused call goes by, where it can be read at all; cut to its limit."""
    try:
        value = _ID.decode(raw).message_id
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return ""
    return _text(value)[:MAX_MESSAGE_ID] if isinstance(value, str | int | float) else ""


_EXPECTED = re.compile(r"Expected `(?P<want>[^`]*)`, got `(?P<got>[^`]*)`(?: - at `\$\.?(?P<path>[^`]*)`)?")
_RANGE = re.compile(r"out of range - at `\$\.?(?P<path>[^`]*)`")
_MISSING = re.compile(r"missing required field `(?P<path>\w+)`")
_WANTED = {"int | float | str | null": "text", "object | array | null": "an object", "object": "an object",
           "array": "a list"}  # fmt: skip


def _explained(error: str) -> str:
    """msgspec's message, in the words of someone who sends events."""
    if match := _EXPECTED.search(error):
        want, got, path = _WANTED.get(match["want"], match["want"]), match["got"], match["path"]
        return f'"{path}" must be {want}, not {got}' if path else f"a call must be {want}, not {got}"
    if match := _RANGE.search(error):
        return f'a number in "{match["path"]}" is too large; send it as text'
    if match := _MISSING.search(error):
        return f'"{match["path"]}" is missing'
    return error[:200]


def _not_json(body: bytes, error: Exception) -> str:
    if not body.strip():
        return "the body is empty"
    return f"this is not JSON ({str(error)[:120]})"


def _shown(value: Any) -> str:
    return repr(value)[:60]


__all__ = [
    "CALL_TYPES", "Arrival", "Batch", "MakeId", "Refused", "TooMany", "decode_batch", "decode_call", "open_batch",
    "write_key_of",
]  # fmt: skip
