"""Webhooks: how a request is signed, what a reply means, and when to try again.

Signing is Standard Webhooks 1.0 (https://www.standardwebhooks.com): ``webhook-id`` names the request over all its
tries, ``webhook-timestamp`` is the second of this one, and ``webhook-signature`` has one ``v1,BASE64`` for each secret
in use, the HMAC-SHA256 of ``id.timestamp.body`` over exactly the bytes that are sent.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any, Final

import msgspec

from heliograph.deliver.retry import HOUR, SECOND, RetryPolicy, delay_ms
from heliograph.events.limits import MAX_DEPTH
from heliograph.events.repair import storable

MAX_REPLY: Final = 64 * 1024
"""Bytes of a reply: what a mail may say of it is a name or a code, and it is kept in the log and with the run.  Twice
what an event may have (:data:`heliograph.events.limits.MAX_EVENT_BYTES`)."""
SECRET_PREFIX: Final = "whsec_"
SECRET_BYTES: Final = (24, 64)
"""How long a secret may be (the specification, "Signature scheme")."""

POLICY: Final = RetryPolicy(first_ms=SECOND, longest_ms=HOUR // 12)
"""1, 2, 4 ... s, then every 5 min, until the step gives up: a run waits, so the first tries are quick."""
LONGEST_RETRY_AFTER_MS: Final = HOUR
"""A receiver that asks for more is asked again nevertheless."""
TRANSIENT: Final = frozenset({408, 425, 429})
"""Refusals that may be none the next time; any other 4xx stays what it is (RFC 9110, 15.5)."""

PHRASES: Final = {
    301: "Moved Permanently", 302: "Found", 303: "See Other", 307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 410: "Gone", 413: "Content Too Large", 422: "Unprocessable Content",
    425: "Too Early", 429: "Too Many Requests", 500: "Internal Server Error", 501: "Not Implemented",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
"""What people call the common ones (RFC 9110, 15; RFC 6585; RFC 8470)."""


class Judgement(msgspec.Struct, frozen=True):
    """``kind``: ok, again or failed.  ``after_ms``: the receiver asks not to be called before (0: it does not say)."""

    kind: str
    reason: str = ""
    after_ms: int = 0


def judge(status: int, headers: Mapping[str, str], now: int) -> Judgement:
    """What a reply means.  ``headers`` with names in lower case, ``now`` in ms."""
    if 200 <= status < 300:
        return Judgement("ok")
    if status in TRANSIENT or status >= 500:
        return Judgement("again", _named(status), retry_after_ms(headers.get("retry-after", ""), now))
    if 300 <= status < 400:
        return Judgement("failed", f"{_named(status)}: redirects are not followed; put the address it leads to in url")
    return Judgement("failed", _named(status))


def _named(status: int) -> str:
    return f"{status} {PHRASES.get(status, '')}".rstrip()


def retry_after_ms(value: str, now: int) -> int:
    """``Retry-After`` (RFC 9110, 10.2.3), seconds or a date, as ms from ``now``; 0 for none or nonsense."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        wait = int(value[:9]) * SECOND
    else:
        try:
            wait = round(parsedate_to_datetime(value).timestamp() * SECOND) - now
        except (ValueError, OverflowError, TypeError, IndexError):
            return 0
    return min(max(wait, 0), LONGEST_RETRY_AFTER_MS)


def next_try(request_id: str, tries: int, now: int, give_up_at: int, after_ms: int = 0) -> int | None:
    """When to try again after this many tries (ms), None when that would be too late."""
    at = now + max(delay_ms(request_id, tries, POLICY), after_ms)
    return at if at < give_up_at else None


# -- signing --


def read_secret(text: str) -> bytes:
    """The key of a ``whsec_...``; ValueError with what to change."""
    low, high = SECRET_BYTES
    try:
        key = base64.b64decode(text.strip().removeprefix(SECRET_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not text.strip().startswith(SECRET_PREFIX) or not low <= len(key) <= high:
        raise ValueError(
            f"each must be {SECRET_PREFIX} and the base64 of {low} to {high} random bytes; make one with: "
            f'echo "{SECRET_PREFIX}$(openssl rand -base64 32)"'
        )
    return key


def signature(key: bytes, request_id: str, second: int, body: bytes) -> str:
    signed = hmac.digest(key, f"{request_id}.{second}.".encode() + body, hashlib.sha256)
    return "v1," + base64.b64encode(signed).decode()


def headers(request_id: str, body: bytes, now: int, keys: Sequence[bytes]) -> dict[str, str]:
    """What a try carries; without keys it goes unsigned."""
    second = now // SECOND
    found = {"webhook-id": request_id, "webhook-timestamp": str(second)}
    if keys:
        found["webhook-signature"] = " ".join(signature(key, request_id, second, body) for key in keys)
    if body:
        found["content-type"] = "application/json"
    return found


# -- the body --


def read_json(body: bytes) -> Any:
    """A reply's JSON as records and templates can carry it; None when it is none, or too deep."""
    try:
        found = storable(msgspec.json.decode(body))
        msgspec.msgpack.encode(found)
    except (ValueError, RecursionError):
        return None
    return found if _depth(found) <= MAX_DEPTH else None


def _depth(value: Any) -> int:
    """Objects and lists inside each other."""
    depth, layer = 0, [value]
    while layer := [one for one in layer if isinstance(one, dict | list)]:
        depth += 1
        layer = [inner for one in layer for inner in (one.values() if isinstance(one, dict) else one)]
    return depth
