"""Keys: whose event is this?  A pure function of the record (design, section 4)."""

import unicodedata
from functools import lru_cache

from heliograph.events.domains import a_label
from heliograph.events.event import Event
from heliograph.events.ids import make_id

_FORBIDDEN = frozenset('<>,;:"()[]\\')


@lru_cache(maxsize=16_384)
def normalise_address(address: str) -> str | None:
    """Trimmed, lower-cased, domain as A-label, nothing else; None when it cannot be an address.

    One shape check only: something, one ``@``, something, no white space or control character.
    """
    text = address.strip()
    text = text.lower() if text.isascii() else unicodedata.normalize("NFC", text)
    local, at, domain = text.rpartition("@")
    local = local.lower()
    if not at or not local or "@" in local or not domain or len(text) > 320:
        return None
    if _has_blanks(text) or not _FORBIDDEN.isdisjoint(text):
        return None
    try:
        domain = a_label(domain)
    except UnicodeError:
        return None
    if domain.startswith(".") or domain.endswith(".") or ".." in domain:
        return None
    return f"{local}@{domain}"


def _has_blanks(text: str) -> bool:
    """White space, a control or an invisible character."""
    if text.isascii():
        return " " in text or not text.isprintable()
    return any(c.isspace() or unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp") for c in text)


def email_of(event: Event) -> str | None:
    """The normalised address an event carries in its traits (or, for other calls, ``context.traits``)."""
    for traits in (event.traits, event.context.get("traits")):
        if isinstance(traits, dict) and isinstance(email := traits.get("email"), str):
            return normalise_address(email)
    return None


def email_key(address: str) -> str:
    """The key of someone known only by a normalised address; the address itself is not in it."""
    return "e:" + make_id("email", address)


def key_of(event: Event) -> str | None:
    """``u:<userId>``, else ``a:<anonymousId>``, else ``e:<hash of email>``; None when there is none of them."""
    if event.user_id:
        return "u:" + event.user_id
    if event.anonymous_id:
        return "a:" + event.anonymous_id
    address = email_of(event)
    return email_key(address) if address else None


def profile_id(key: str) -> str:
    """The public name of a key: the userId, ``anon:<id>`` or ``email:<hash>``."""
    kind, _, rest = key.partition(":")
    return rest if kind == "u" else ("anon:" if kind == "a" else "email:") + rest


def key_from_profile_id(person: str) -> str:
    """The inverse of :func:`profile_id`."""
    if person.startswith("anon:"):
        return "a:" + person[5:]
    if person.startswith("email:"):
        return "e:" + person[6:]
    return "u:" + person
