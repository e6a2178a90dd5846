"""What is the same in every message of a template from a sender: made once, then only copied.

Most header fields, who the message is from for SMTP, what the footer must say, and which header fields a signature
covers do not change from person to person.  :func:`letterhead` makes and keeps them; :meth:`Letterhead.fields` are
those that do change.
"""

import re
from functools import lru_cache
from html import escape
from typing import Final, Protocol

from heliograph.events.ids import make_id
from heliograph.render.dkim import SignedHeaders, canonical_header, is_signed, signed_names
from heliograph.render.headers import clean, date, mailbox, split_mailbox, unbroken, unstructured_clean
from heliograph.render.verp import ReturnPath

KEPT: Final = 1_000
"""Letterheads, about 2 KB each: a template from a sender for a journey.  The one that was not used for longest goes."""
MAX_LABEL: Final = 60
"""Characters of a name in Feedback-ID and List-Id (a label of a domain may have 63); a longer one is cut."""
SENDER_ID: Final = (5, 15)
"""Characters that Gmail takes as SenderId (https://support.google.com/mail/answer/6254652)."""
CHANGING: Final = ("To", "Subject", "Date", "Message-ID", "List-Unsubscribe", "Content-Type")

_NO_LABEL = re.compile("[^a-z0-9]+")
_SIGNED_AS = tuple((len(name) + 2, name.lower().encode() + b":") for name in CHANGING)


class Letter(Protocol):
    """What a letterhead asks of a template."""

    @property
    def name(self) -> str: ...
    @property
    def marketing(self) -> bool: ...
    @property
    def html_source(self) -> str: ...
    @property
    def text_source(self) -> str: ...


class Letterhead:
    """``sender``: the bare address of From.  ``return_path``: where bounces go, or None for ``sender``.  ``postal`` and
    ``opt_out``: what the footers of (HTML, text) must say because the author did not."""

    __slots__ = (
        "_above", "_below", "_canonical", "_domain", "_middle", "_names", "marketing", "opt_out", "postal",
        "return_path", "sender",
    )  # fmt: skip

    def __init__(
        self,
        template: Letter,
        from_: str,
        reply_to: str | None = None,
        *,
        postal_address: str = "",
        domain: str = "",
        return_path: str = "",
        topic: str | None = None,
        campaign: str = "",
        project: str = "",
    ) -> None:
        """Raises :class:`BadAddress` when ``from_``, ``reply_to`` or ``return_path`` is no address."""
        self.sender = split_mailbox(from_)[1]
        self.return_path = ReturnPath(return_path) if return_path else None
        self.marketing = template.marketing
        own = self.sender.rpartition("@")[2]
        self._domain = domain or own
        self._above = [mailbox("From", from_)]
        self._middle = [mailbox("Reply-To", reply_to)] if reply_to else []
        self._below = [] if not template.marketing else [b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n"]
        if template.marketing and topic:
            self._below.append(unbroken("List-Id", f"<{label(topic)}.{own}>"))
        kind = "marketing" if template.marketing else "transactional"
        self._below.append(unbroken("Feedback-ID", feedback_id(campaign, template.name, kind, project or own)))
        self._below.append(b"MIME-Version: 1.0\r\n")
        self._names, self._canonical = self._signed_always()
        wanted = clean(postal_address) if template.marketing else ""
        self.postal = (_unless_there(wanted, template.html_source), _unless_there(wanted, template.text_source))
        self.opt_out = (self._must_offer(template.html_source), self._must_offer(template.text_source))

    def _must_offer(self, source: str) -> bool:
        return self.marketing and "urls.unsubscribe" not in source and "urls.preferences" not in source

    def _signed_always(self) -> SignedHeaders:
        fields = [field.partition(b":") for field in (*self._above, *self._middle, *self._below)]
        always = [(name.decode().lower(), value) for name, _, value in fields if is_signed(name.decode().lower())]
        changing = [name.lower() for name in CHANGING if self.marketing or name != "List-Unsubscribe"]
        canonical = b"".join(canonical_header(name, value) for name, value in always)
        return SignedHeaders(signed_names((*(name for name, _ in always), *changing)), canonical)

    def fields(
        self, to: str, subject: str, date_ms: int, message_id: str, unsubscribe: str, content_type: bytes
    ) -> tuple[bytes, ...]:
        """The fields :data:`CHANGING`, each with its CRLF; without an opt-out the fifth is empty.  ``to`` is a bare
        address, ``subject`` clean."""
        return (
            b"To: " + to.encode() + b"\r\n",
            unstructured_clean("Subject", subject),
            date(date_ms),
            unbroken("Message-ID", f"<{clean(message_id)}@{self._domain}>"),
            unbroken("List-Unsubscribe", f"<{unsubscribe}>") if self.marketing else b"",
            b"Content-Type: " + content_type + b"\r\n",
        )

    def head(self, fields: tuple[bytes, ...]) -> bytes:
        """The whole header section, without the empty line behind it."""
        return b"".join((*self._above, *fields[:4], *self._middle, fields[4], *self._below, fields[5]))

    def signed(self, fields: tuple[bytes, ...]) -> SignedHeaders:
        """The header section as signatures cover it.  Our own fields hold no blanks but single spaces and folds: to
        unfold them makes them canonical."""
        pieces = [self._canonical]
        for field, (start, name) in zip(fields, _SIGNED_AS, strict=True):
            if field:
                pieces += (name, field[start:].replace(b"\r\n ", b" "))
        return SignedHeaders(self._names, b"".join(pieces))


letterhead = lru_cache(KEPT)(Letterhead)


def _unless_there(postal: str, source: str) -> str:
    """The postal address, when its author did not write it (CAN-SPAM wants it once)."""
    return "" if postal in source or escape(postal) in source else postal


def label(name: str) -> str:
    """A name as one label of letters, digits and hyphens; one that says nothing in ASCII becomes its hash."""
    text = _NO_LABEL.sub("-", name.lower()).strip("-")[:MAX_LABEL].rstrip("-")
    return text or make_id("label", name.encode(errors="replace").decode())[:10]


def feedback_id(campaign: str, template: str, kind: str, sender: str) -> str:
    """Three identifiers that Gmail reports complaints by, and the sender's, which has 5 to 15 characters.  Nothing in
    them is about the person.  Their first words keep equal names apart: Gmail counts each identifier wherever it
    stands."""
    least, most = SENDER_ID
    own = label(sender)
    if not least <= len(own) <= most:
        own = f"{own[:8].rstrip('-')}-{make_id('sender', sender.encode(errors='replace').decode())[:6]}"
    identifiers = [f"campaign.{label(campaign)}"] if campaign else []
    return ":".join((*identifiers, f"template.{label(template)}", f"class.{kind}", own))
