"""``/v1/*``: the door for events.  The hot path of the house: one request, one event, one answer on disk.

Order of the checks: method, write key in the header, size, write key in the body, envelope, rate, items.  The statuses
are the contract's (docs/reference/collect.md): never a redirect (Segment's Node library takes 3xx for success), never
5xx for what a client sent.
"""

import binascii
from base64 import b32encode, b64decode
from collections import Counter
from collections.abc import Iterable
from hmac import compare_digest
from os import urandom

import msgspec

from heliograph.adapters.http.body import BodyReader
from heliograph.adapters.http.limiter import RateLimiter
from heliograph.adapters.http.reply import (
    CORS,
    JSON,
    Headers,
    Problem,
    Receive,
    Reply,
    Scope,
    not_allowed,
    retry_after,
)
from heliograph.events.decode import (
    CALL_TYPES,
    Refused,
    TooMany,
    decode_batch,
    decode_call,
    open_batch,
    write_key_of,
)
from heliograph.events.limits import MAX_BATCH_BYTES, MAX_EVENT_BYTES
from heliograph.ports import Arrival, Busy, Gate, Result, Taken

BATCH = "batch"
ROUTES = {
    path: kind for kind in (*CALL_TYPES, BATCH) for path in (f"/v1/{kind}", f"/v1/{kind[0]}", f"/v1/{kind}/")
}  # fmt: skip
"""Path -> call type; ``/v1/p`` is page as in Segment's browser library."""

_OK: Headers = JSON + CORS
_DURABLE: dict[str, Headers] = {
    "": _OK,
    **{what: (*_OK, (b"heliograph-durable", what.encode())) for what in ("log", "spool")},
}
_PREFLIGHT: Headers = (
    *CORS,
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (b"access-control-allow-headers", b"authorization, content-type, content-encoding, x-retry-count"),
    (b"access-control-max-age", b"86400"),
)
_ERROR: Headers = (*CORS, (b"access-control-expose-headers", b"retry-after"))
# A browser opens a password box for `Basic`, in the middle of someone's shop; it ignores a scheme it does not know.
_CHALLENGE: Headers = ((b"www-authenticate", b'WriteKey realm="collect"'),)
_UNKNOWN_KEY = "unknown write key; use the one of [collect] in heliograph.toml"
_NO_KEY = "no write key; send it as the user name of Basic authentication, or as writeKey in the body"


class _Answer(msgspec.Struct):
    success: bool
    results: list[Result]
    position: str | None = "0"


_ENCODER = msgspec.json.Encoder()


def new_message_id() -> str:
    """26 characters of chance, for calls that came without ``messageId``."""
    return b32encode(urandom(16))[:26].decode().lower()


class Collect:
    """``counts``: events by what became of them (accepted, duplicate, dead_letter, refused, limited, busy)."""

    def __init__(self, engine: Gate, write_keys: Iterable[str], limiter: RateLimiter, reader: BodyReader) -> None:
        self._engine = engine
        self._limiter = limiter
        self._reader = reader
        self._keys = tuple(write_keys)
        self._by_header = {_basic(key): key for key in self._keys}
        self.counts: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive) -> Reply:
        """Answer a request to one of :data:`ROUTES`; never raises for what a client sent."""
        if scope["method"] != "POST":
            if scope["method"] == "OPTIONS":
                return Reply(204, b"", _PREFLIGHT)
            return not_allowed("POST", "OPTIONS")
        try:
            return await self._post(ROUTES[scope["path"]], scope, receive)
        except Problem as error:
            return error.plus(_ERROR)

    async def _post(self, kind: str, scope: Scope, receive: Receive) -> Reply:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        key = self._key_in(headers)
        body = await self._reader.read(headers, receive, MAX_BATCH_BYTES if kind == BATCH else MAX_EVENT_BYTES)
        if kind == BATCH:
            arrivals = self._open(key, body)
        else:
            arrivals = [self._decode(key, kind, body)]
        results = await self._hand_over(arrivals)
        if isinstance(results, Taken):
            answer = _Answer(True, list(results), results.position)
            return Reply(200, _ENCODER.encode(answer), _DURABLE[results.durable])
        return Reply(200, _ENCODER.encode(_Answer(True, results)), _OK)

    def _decode(self, key: str | None, kind: str, body: bytes) -> Arrival:
        now = self._engine.clock.now()
        self._admit(key or self._known(write_key_of(body)), 1, now)
        arrival = decode_call(kind, body, now, new_message_id)
        if arrival.refused:
            self.counts["refused"] += 1
            raise Problem(400, arrival.refused)
        return arrival

    def _open(self, key: str | None, body: bytes) -> list[Arrival]:
        now = self._engine.clock.now()
        try:
            batch = open_batch(body)
        except TooMany as error:
            raise Problem(413, str(error)) from None
        except Refused as error:
            raise Problem(400, str(error)) from None
        key = key or self._known(batch.write_key or _key_of_first(batch.batch))
        self._admit(key, len(batch.batch), now)
        return decode_batch(batch, now, new_message_id)

    async def _hand_over(self, arrivals: list[Arrival]) -> list[Result]:
        if not arrivals:
            return []
        try:
            results = await self._engine.collect(arrivals)
        except Busy as busy:
            self.counts["busy"] += len(arrivals)
            raise Problem(503, busy.reason, headers=retry_after(busy.retry_after_s)) from None
        for result in results:
            self.counts[result.status] += 1
        return results

    def _admit(self, key: str, events: int, now: int) -> None:
        if wait := self._limiter.take(key, events, now):
            self.counts["limited"] += events
            detail = f"more than {self._limiter.per_second:g} events a second for this write key; wait and try again"
            raise Problem(429, detail, headers=retry_after(wait))

    def _key_in(self, headers: dict[bytes, bytes]) -> str | None:
        """The write key of the Authorization header; None without Basic, 401 when it is not ours."""
        header = headers.get(b"authorization")
        if header is None or header[:6].lower() != b"basic ":
            return None
        return self._by_header.get(header) or self._known(_user_name(header))

    def _known(self, key: object) -> str:
        if not key:
            raise Problem(401, _NO_KEY, headers=_CHALLENGE)
        if isinstance(key, str) and any(compare_digest(key.encode(), known.encode()) for known in self._keys):
            return key
        raise Problem(401, _UNKNOWN_KEY, headers=_CHALLENGE)


def _basic(key: str) -> bytes:
    """The header as nearly every client writes it: no password."""
    return b"Basic " + binascii.b2a_base64(f"{key}:".encode(), newline=False)


def _user_name(header: bytes) -> str:
    try:
        return b64decode(header[6:].strip()).decode().partition(":")[0]
    except (binascii.Error, ValueError):
        return ""


def _key_of_first(items: list[msgspec.Raw]) -> str | None:
    """Some libraries put the write key into every item instead of the envelope."""
    return write_key_of(bytes(items[0])) if items else None
