"""One message: a loaded template, a person's context and an envelope in, finished bytes out.

Everything that does not change from message to message (parsed Liquid, most header fields, keys) is made once; what is
left is Liquid, links, encoding, one body hash and a signature per signer.
"""

from collections.abc import Mapping
from datetime import tzinfo
from html import escape
from typing import Any

import msgspec
from liquid.template import BoundTemplate

from heliograph.decide.times import iso, zone_or_utc
from heliograph.render.dkim import Signer, body_hash, sign_hashed
from heliograph.render.enclosures import part
from heliograph.render.errors import BadAddress, Skip
from heliograph.render.headers import bare, clean
from heliograph.render.letterhead import Letterhead, letterhead
from heliograph.render.links import Claims, LinkKeys, MessageLinks
from heliograph.render.liquid import environment, render
from heliograph.render.mime import assemble
from heliograph.render.text import RULE, tidy

MAX_LOADED = 1_000
"""Templates kept parsed; the oldest goes first."""
MAX_LOADED_BYTES = 64_000_000
"""Octets of their attachments and images: six plans that are as heavy as they may be."""
FOOTER_STYLE = "margin:24px auto 0;max-width:600px;padding:0 16px 24px;font:12px/1.5 sans-serif;color:#6b7280"
LINKS = ("preferences", "unsubscribe")
"""Under ``urls``; methods of :class:`~heliograph.render.links.MessageLinks`."""
INSTANTS = (("event", "occurred_at"), ("trigger", "occurred_at"), ("run", "entered_at"))
"""Where a context holds ms that Liquid shows as RFC 3339."""

_HTML = environment(html=True)
_TEXT = environment(html=False)


class Template(msgspec.Struct, frozen=True, kw_only=True, eq=False):
    """A compiled template with its Liquid parsed.  ``uses``: the names under ``urls`` that it reads.  ``images`` and
    ``attachments``: whole parts (:mod:`heliograph.render.enclosures`)."""

    name: str
    version: str
    marketing: bool
    subject: BoundTemplate
    html: BoundTemplate
    text: BoundTemplate
    html_source: str
    text_source: str
    uses: frozenset[str]
    images: tuple[bytes, ...] = ()
    attachments: tuple[bytes, ...] = ()


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """Everything about a message that its template does not know.

    ``from_`` and ``reply_to`` are header text (``Shop <hello@shop.example>``), ``to`` a bare address; ``key`` and
    ``topic`` go into the links (topic None: transactional).  ``domain`` is the right side of Message-ID, by default
    that of ``from_``.  ``timezone`` is the project's, for people without one.  ``track`` puts in the open pixel and
    counts clicks.  ``date_ms`` is now.  ``return_path`` is where bounces go, before the message's token is put in
    (:mod:`heliograph.render.verp`), "" for the address of ``from_``.  ``campaign`` (a journey or broadcast) and
    ``project`` are names for Feedback-ID.
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
    return_path: str = ""
    campaign: str = ""
    project: str = ""


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
        template = _parse(compiled)
        room = MAX_LOADED_BYTES - sum(map(_weight, (template, *_loaded.values())))
        while _loaded and (len(_loaded) >= MAX_LOADED or room < 0):
            room += _weight(_loaded.pop(next(iter(_loaded))))
        _loaded[key] = template
    return template


def _weight(template: Template) -> int:
    return sum(map(len, (*template.images, *template.attachments)))


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
        images=tuple(map(part, compiled.get("images", ()))),
        attachments=tuple(map(part, compiled.get("attachments", ()))),
    )


class _Mail:
    """The message as the tags of :mod:`heliograph.render.liquid` see it."""

    __slots__ = ("head", "links", "track")

    def __init__(self, head: Letterhead, links: MessageLinks, track: bool) -> None:
        self.head = head
        self.links = links
        self.track = track

    def tracked(self, url: str) -> str:
        return self.links.click(url) if self.track else url

    def closing(self) -> str:
        lines = [escape(self.head.postal[0])] if self.head.postal[0] else []
        if self.head.opt_out[0]:
            unsubscribe, preferences = self.links.unsubscribe(), self.links.preferences()
            lines.append(f'<a href="{unsubscribe}">Unsubscribe</a> &middot; <a href="{preferences}">Preferences</a>')
        footer = f'<div style="{FOOTER_STYLE}">{"<br>".join(lines)}</div>' if lines else ""
        if not self.track:
            return footer
        return f'{footer}<img src="{self.links.open()}" width="1" height="1" alt="" style="display:block;border:0">'

    def closing_text(self) -> str:
        lines = [self.head.postal[1]] if self.head.postal[1] else []
        if self.head.opt_out[1]:
            lines.append(f"Unsubscribe: {self.links.unsubscribe()}")
        return f"\n{RULE}\n" + "\n".join(lines) + "\n" if lines else ""


def render_message(template: Template, context: Mapping[str, Any], envelope: Envelope) -> Rendered:
    """The bytes to send.  ``context`` is what ``decide.render_context`` made (times in ms).  The same arguments give
    the same bytes.  Raises :class:`Skip` when this message must not go out."""
    recipient = _recipient(envelope.to)
    head = _letterhead(template, envelope)
    claims = Claims(envelope.message_id, envelope.key, envelope.to, envelope.topic)
    mail = _Mail(head, MessageLinks(envelope.base_url, claims, envelope.link_keys), envelope.track)
    names = _names(template, context, mail, envelope.date_ms)
    zone = _zone(context, envelope.timezone)
    subject = clean(render(template.subject, names, zone=zone))
    if not subject:
        raise Skip("missing: subject")
    html = render(template.html, names, mail=mail, zone=zone)
    text = tidy(render(template.text, names, zone=zone)) + mail.closing_text()
    content_type, body, words = assemble(text, html, envelope.message_id, template.images, template.attachments)
    unsubscribe = mail.links.unsubscribe() if template.marketing else ""
    try:
        fields = head.fields(recipient, subject, envelope.date_ms, envelope.message_id, unsubscribe, content_type)
    except ValueError as error:
        raise Skip(f"header: {error}") from error  # a user id of a thousand octets makes a link of no mail
    section = head.head(fields)
    signatures = b""
    if envelope.signers:
        hashed = body_hash(body, trimmed=True, words=words)
        signatures = sign_hashed(envelope.signers, head.signed(fields), hashed, envelope.date_ms)
    sender = head.return_path.to(envelope.message_id, envelope.link_keys) if head.return_path else head.sender
    return Rendered(
        data=b"".join((signatures, section, b"\r\n", body)),
        subject=subject,
        html=html,
        text=text,
        sender=sender,
        recipient=recipient,
        smtputf8=not (recipient.isascii() and sender.isascii() and section.isascii()),
    )


def _letterhead(template: Template, envelope: Envelope) -> Letterhead:
    return letterhead(
        template,
        envelope.from_,
        envelope.reply_to,
        postal_address=envelope.postal_address,
        domain=envelope.domain,
        return_path=envelope.return_path,
        topic=envelope.topic,
        campaign=envelope.campaign,
        project=envelope.project,
    )


def _recipient(to: str) -> str:
    if not to:
        raise Skip("no_address")
    try:
        return bare(to)
    except BadAddress:
        raise Skip("bad_address") from None


def _names(template: Template, context: Mapping[str, Any], mail: _Mail, now: int) -> dict[str, Any]:
    names = dict(context)
    names["now"] = iso(now)
    for name, field in INSTANTS:
        holder = names.get(name)
        if isinstance(holder, dict) and isinstance(at := holder.get(field), int):
            names[name] = {**holder, field: iso(at)}
    names["urls"] = {name: getattr(mail.links, name)() for name in LINKS if name in template.uses}
    return names


def _zone(context: Mapping[str, Any], otherwise: str) -> tzinfo:
    """The person's: trait ``timezone``, else that of the event's context, else the project's."""
    profile, event = context.get("profile"), context.get("event")
    if isinstance(profile, dict) and isinstance(name := profile.get("timezone"), str):
        return zone_or_utc(name)
    if isinstance(event, dict) and isinstance(name := (event.get("context") or {}).get("timezone"), str):
        return zone_or_utc(name)
    return zone_or_utc(otherwise)
