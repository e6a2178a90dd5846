"""One message: a loaded template, a person's context and an envelope in, finished bytes out.

Everything that does not change from message to message (parsed Liquid, addresses, keys) is made once; what is left is
Liquid, encoding, one body hash and a signature per signer.
"""

from collections.abc import Mapping
from datetime import tzinfo
from html import escape
from typing import Any

import msgspec
from liquid.template import BoundTemplate

from heliograph.decide.times import iso, zone_or_utc
from heliograph.render import mime
from heliograph.render.dkim import Header, Signer, sign_all
from heliograph.render.errors import Skip
from heliograph.render.headers import BadAddress, clean, date, mailbox, split_mailbox, unbroken, unstructured
from heliograph.render.links import Claims, LinkKeys, MessageLinks
from heliograph.render.liquid import environment, render
from heliograph.render.text import RULE, tidy

MAX_LOADED = 1_000
"""Templates kept parsed; the oldest goes first."""
FOOTER_STYLE = "margin:24px auto 0;max-width:600px;padding:0 16px 24px;font:12px/1.5 sans-serif;color:#6b7280"
INSTANTS = (("event", "occurred_at"), ("trigger", "occurred_at"), ("run", "entered_at"))
"""Where a context holds ms that Liquid shows as RFC 3339."""

_HTML = environment(html=True)
_TEXT = environment(html=False)


class Template(msgspec.Struct, frozen=True, kw_only=True):
    """A compiled template with its Liquid parsed.  ``uses``: the names under ``urls`` that it reads."""

    name: str
    version: str
    marketing: bool
    subject: BoundTemplate
    html: BoundTemplate
    text: BoundTemplate
    html_source: str
    text_source: str
    uses: frozenset[str]


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a message that its template does not know.

    ``from_`` and ``reply_to`` are header text (``Shop <hello@shop.example>``), ``to`` a bare address; ``key`` and
    ``topic`` go into the links (topic None: transactional).  ``domain`` is the right side of Message-ID, by default
    that of ``from_``.  ``timezone`` is the project's, for people without one.  ``track`` puts in the open pixel and
    counts clicks.  ``date_ms`` is now.
    """

    message_id: str
    to: str
    from_: str
    date_ms: int
    base_url: str
    link_keys: LinkKeys
    key: str = ""
    topic: str | None = None
    reply_to: str | None = None
    postal_address: str = ""
    domain: str = ""
    signers: tuple[Signer, ...] = ()
    timezone: str = "UTC"
    track: bool = True


class Rendered(msgspec.Struct, frozen=True, kw_only=True):
    """``data`` is the whole message, CRLF, not dot-stuffed.  ``sender`` and ``recipient`` are bare addresses for MAIL
    FROM and RCPT TO; ``smtputf8`` says that they or the header need RFC 6531."""

    data: bytes
    subject: str
    html: str
    text: str
    sender: str
    recipient: str
    smtputf8: bool


_loaded: dict[tuple[str, str], Template] = {}


def load(compiled: Mapping[str, Any]) -> Template:
    """The template of a plan document, parsed; the same object for the same (name, version)."""
    key = (compiled["name"], compiled["version"])
    if (template := _loaded.get(key)) is None:
        while len(_loaded) >= MAX_LOADED:
            _loaded.pop(next(iter(_loaded)), None)
        template = _loaded[key] = _parse(compiled)
    return template


def _parse(compiled: Mapping[str, Any]) -> Template:
    return Template(
        name=compiled["name"],
        version=compiled["version"],
        marketing=compiled["class"] == "marketing",
        subject=_TEXT.from_string(compiled["subject"]),
        html=_HTML.from_string(compiled["html"]),
        text=_TEXT.from_string(compiled["text"]),
        html_source=compiled["html"],
        text_source=compiled["text"],
        uses=frozenset(path[5:] for path in compiled["paths"] if path.startswith("urls.")),
    )


class _Mail:
    """The message as the tags of :mod:`heliograph.render.liquid` see it."""

    __slots__ = ("envelope", "links", "template")

    def __init__(self, template: Template, envelope: Envelope) -> None:
        claims = Claims(envelope.message_id, envelope.key, envelope.to, envelope.topic)
        self.template = template
        self.envelope = envelope
        self.links = MessageLinks(envelope.base_url, claims, envelope.link_keys)

    def tracked(self, url: str) -> str:
        return self.links.click(url) if self.envelope.track else url

    def closing(self) -> str:
        pixel = self.links.open() if self.envelope.track else ""
        image = f'<img src="{pixel}" width="1" height="1" alt="" style="display:block;border:0">' if pixel else ""
        lines = [escape(line) for line in self._postal(self.template.html_source)]
        if self._needs_opt_out(self.template.html_source):
            unsubscribe, preferences = self.links.unsubscribe(), self.links.preferences()
            lines.append(f'<a href="{unsubscribe}">Unsubscribe</a> &middot; <a href="{preferences}">Preferences</a>')
        footer = f'<div style="{FOOTER_STYLE}">{"<br>".join(lines)}</div>' if lines else ""
        return footer + image

    def closing_text(self) -> str:
        lines = self._postal(self.template.text_source)
        if self._needs_opt_out(self.template.text_source):
            lines.append(f"Unsubscribe: {self.links.unsubscribe()}")
        return f"\n{RULE}\n" + "\n".join(lines) + "\n" if lines else ""

    def _postal(self, source: str) -> list[str]:
        """The postal address, when this is marketing and the author did not write it (CAN-SPAM wants it once)."""
        address = clean(self.envelope.postal_address)
        if not address or not self.template.marketing or address in source or escape(address) in source:
            return []
        return [address]

    def _needs_opt_out(self, source: str) -> bool:
        return self.template.marketing and "urls.unsubscribe" not in source and "urls.preferences" not in source


def render_message(template: Template, context: Mapping[str, Any], envelope: Envelope) -> Rendered:
    """The bytes to send.  ``context`` is what ``decide.render_context`` made (times in ms).  The same arguments give
    the same bytes.  Raises :class:`Skip` when this message must not go out."""
    sender, recipient = _addresses(envelope)
    mail = _Mail(template, envelope)
    names = _names(template, context, mail)
    zone = _zone(context, envelope.timezone)
    subject = clean(render(template.subject, names, zone=zone))
    if not subject:
        raise Skip("missing: subject")
    html = render(template.html, names, mail=mail, zone=zone)
    text = tidy(render(template.text, names, zone=zone)) + mail.closing_text()
    content_type, body = mime.alternative(text, html, envelope.message_id)
    head, headers = _head(template, envelope, subject, content_type, mail)
    data = b"".join((sign_all(envelope.signers, headers, body, envelope.date_ms), head, b"\r\n", body))
    return Rendered(
        data=data,
        subject=subject,
        html=html,
        text=text,
        sender=sender,
        recipient=recipient,
        smtputf8=not (recipient.isascii() and sender.isascii() and head.isascii()),
    )


def _addresses(envelope: Envelope) -> tuple[str, str]:
    if not envelope.to:
        raise Skip("no_address")
    try:
        name, recipient = split_mailbox(envelope.to)
    except BadAddress:
        raise Skip("bad_address") from None
    if name:
        raise Skip("bad_address")
    return split_mailbox(envelope.from_)[1], recipient


def _names(template: Template, context: Mapping[str, Any], mail: _Mail) -> dict[str, Any]:
    names = dict(context)
    names["now"] = iso(mail.envelope.date_ms)
    for name, field in INSTANTS:
        holder = names.get(name)
        if isinstance(holder, dict) and isinstance(at := holder.get(field), int):
            names[name] = {**holder, field: iso(at)}
    links = {"unsubscribe": mail.links.unsubscribe, "preferences": mail.links.preferences}
    names["urls"] = {name: make() for name, make in links.items() if name in template.uses}
    return names


def _zone(context: Mapping[str, Any], otherwise: str) -> tzinfo:
    """The person's: trait ``timezone``, else that of the event's context, else the project's."""
    profile, event = context.get("profile"), context.get("event")
    if isinstance(profile, dict) and isinstance(name := profile.get("timezone"), str):
        return zone_or_utc(name)
    if isinstance(event, dict) and isinstance(name := (event.get("context") or {}).get("timezone"), str):
        return zone_or_utc(name)
    return zone_or_utc(otherwise)


def _head(
    template: Template, envelope: Envelope, subject: str, content_type: bytes, mail: _Mail
) -> tuple[bytes, list[Header]]:
    """The header section, and its fields as DKIM wants them."""
    domain = envelope.domain or split_mailbox(envelope.from_)[1].rpartition("@")[2]
    fields = [
        mailbox("From", envelope.from_),
        mailbox("To", envelope.to),
        unstructured("Subject", subject),
        date(envelope.date_ms),
        unbroken("Message-ID", f"<{clean(envelope.message_id)}@{domain}>"),
    ]
    if envelope.reply_to:
        fields.append(mailbox("Reply-To", envelope.reply_to))
    if template.marketing:
        fields.append(unbroken("List-Unsubscribe", f"<{mail.links.unsubscribe()}>"))
        fields.append(b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n")
    fields += [b"MIME-Version: 1.0\r\n", b"Content-Type: " + content_type + b"\r\n"]
    headers = [(name.decode(), value[:-2]) for name, _, value in (field.partition(b":") for field in fields)]
    return b"".join(fields), headers
