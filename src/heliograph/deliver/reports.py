"""Mail about mail: delivery status notifications (RFC 3464, RFC 6533) and complaints (ARF, RFC 5965 and RFC 6430).

::

    raw mail --read--> Report: what it says, and everything in it that may name a message of ours
    Report, address --finding--> the recipient it is about --condemns--> must the address be suppressed?

Only what the standards say is understood; whatever else comes to a bounce address is ``unknown``, never guessed at.
Whether it is about a mail of ours, and whether that is proven, is for the caller: it has the keys and the ledger.

The input is hostile: the first :data:`MAX_BYTES` are looked at, nesting, parts and fields are counted, nothing raises,
and the work is linear.  Returned mail is only read as far as its headers.
"""

import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Final, TypeAlias

import msgspec

from heliograph.deliver.replies import Reply, condemns_address, parse
from heliograph.events.identity import normalise_address

MAX_BYTES: Final = 256 * 1024
"""Looked at; the status comes before the returned mail, which may have any size."""
MAX_PARTS: Final = 20
MAX_DEPTH: Final = 4
"""A report is a multipart; a list or a scanner may wrap it once or twice."""
MAX_FIELDS: Final = 500
"""Of one block; a mail that has passed twenty servers has about a hundred."""
MAX_VALUE: Final = 2_000
"""Characters of a field that are kept."""
MAX_RECIPIENTS: Final = 50
"""Of one notification.  We send one mail a recipient: more come of lists only."""
MAX_NAMES: Final = 50
"""Addresses, ids and links that are tried."""

Fields: TypeAlias = Mapping[str, list[str]]

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "failed": ("bounced", "45"),
    "delayed": ("delayed", "45"),
    "delivered": ("delivered", "2"),
    "relayed": ("relayed", "2"),
    "expanded": ("delivered", "2"),
}
"""Action (RFC 3464, section 2.3.3), worst first -> what it means for the message, and the classes of status that agree
with it; where they do not, it is ``unknown``.  ``delayed`` changes nothing: somebody else is still trying."""
COMPLAINTS: Final[Mapping[str, str]] = {"abuse": "complained", "fraud": "complained", "not-spam": "not_spam"}
"""Feedback-Type (RFC 5965, section 7.3; RFC 6430); the others (virus, auth-failure ...) are no word of the person."""
UNKNOWN: Final = "unknown"

_STATUS = re.compile(r"\b([245])\.(\d{1,3})\.(\d{1,3})\b")
_BOUNDARY = re.compile(r'boundary\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_IDS = re.compile(r"<([^<>@\s]{1,200})@[^<>\s]{1,255}>")
_LINKS = re.compile(r"/u/([A-Za-z0-9_-]{20,6000})")
_BETWEEN = re.compile(r"[\s<>,;:\"()]+")
_ENTITIES: Final = {
    "message/delivery-status": "status",
    "message/global-delivery-status": "status",
    "message/feedback-report": "feedback",
    "message/rfc822": "returned",
    "message/global": "returned",
    "text/rfc822-headers": "returned",
    "message/global-headers": "returned",
}
_TO_US: Final = ("to", "delivered-to", "x-original-to", "envelope-to", "x-envelope-to")
"""Fields of the report itself in which the address stands that it was sent to."""


class Recipient(msgspec.Struct, frozen=True):
    """What a notification says of one recipient.  ``action`` lower case, ``status`` like ``5.1.1`` or "", ``final`` and
    ``original`` bare addresses or "", ``diagnostic`` the remote server's reply, ``smtp`` when it is one of SMTP."""

    action: str
    status: str = ""
    final: str = ""
    original: str = ""
    diagnostic: str = ""
    smtp: bool = False

    @property
    def kind(self) -> str:
        kind, classes = KINDS.get(self.action, (UNKNOWN, ""))
        return kind if not self.status or self.status[0] in classes else UNKNOWN

    @property
    def reason(self) -> str:
        return self.diagnostic or self.status or self.action


class Report(msgspec.Struct, frozen=True):
    """``kind``: ``dsn`` (see its ``recipients``), ``complained``, ``not_spam`` or ``unknown``.

    What may name the message: ``addresses`` (one may bear its VERP token), ``links`` (tokens of its unsubscribe link),
    ``message_ids`` (left sides of Message-ID and of the envelope id)."""

    kind: str
    recipients: tuple[Recipient, ...] = ()
    addresses: tuple[str, ...] = ()
    links: tuple[str, ...] = ()
    message_ids: tuple[str, ...] = ()


def read(raw: bytes, recipient: str = "") -> Report:
    """``raw``: the mail as it came.  ``recipient``: the envelope's, where the caller knows it.  Never raises."""
    fields, body = _split(_lines(raw))
    found: dict[str, list[bytes]] = {"status": [], "feedback": [], "returned": []}
    for kind, content in _leaves(fields, body, MAX_DEPTH):
        found[kind].append(content)
    status = [group for content in found["status"] for group in _groups(content)]
    feedback = _fields(found["feedback"][0]) if found["feedback"] else {}
    returned = _split(found["returned"][0])[0] if found["returned"] else {}
    recipients = tuple(one for group in status if (one := _recipient(group)) is not None)[:MAX_RECIPIENTS]
    addresses = [recipient, *_addresses(fields, _TO_US), *_addresses(feedback, ("original-mail-from",))]
    addresses += _addresses(returned, ("return-path", "errors-to"))
    ids = [one for group in status for one in group.get("original-envelope-id", ())][:MAX_NAMES]
    return Report(
        kind=_kind(feedback, recipients),
        recipients=recipients,
        addresses=tuple(dict.fromkeys(one for one in addresses if one))[:MAX_NAMES],
        links=tuple(_LINKS.findall(" ".join(returned.get("list-unsubscribe", ()))))[:MAX_NAMES],
        message_ids=(*_IDS.findall(" ".join(returned.get("message-id", ()))), *(one.strip("<>") for one in ids)),
    )


def finding(report: Report, address: str) -> Recipient | None:
    """The recipient that a notification about a mail to ``address`` is about: that address, else the worst off."""
    order = list(KINDS)
    ranked = sorted(report.recipients, key=lambda one: order.index(one.action) if one.action in KINDS else len(order))
    return next((one for one in ranked if _is_about(one, address)), ranked[0] if ranked else None)


def condemns(recipient: Recipient, address: str) -> bool:
    """Whether this says that ``address`` itself is dead.  A word about somebody else, to whom its owner forwards, never
    does; nor does a status that a relay made up for a reply without one (sendmail: 5.1.1 for any 550)."""
    if recipient.kind != "bounced" or not _is_about(recipient, address):
        return False
    reply = reply_of(recipient)
    return condemns_address("rcpt", reply.code, reply.enhanced, reply.text)


def reply_of(recipient: Recipient) -> Reply:
    """What the remote server said, else what the status says, as a reply."""
    if recipient.smtp:
        reply = parse(re.sub(r"^(\d{3})-", r"\1 ", recipient.diagnostic))
        if reply.code:
            return reply
    code = {"5": 550, "4": 450}.get(recipient.status[:1], 0)
    return Reply(code, recipient.status, recipient.diagnostic)


def _is_about(recipient: Recipient, address: str) -> bool:
    normal = normalise_address(address)
    return normal is not None and normal in (normalise_address(recipient.final), normalise_address(recipient.original))


def _kind(feedback: Fields, recipients: tuple[Recipient, ...]) -> str:
    if feedback:
        return COMPLAINTS.get(_first(feedback, "feedback-type").lower(), UNKNOWN)
    return "dsn" if recipients else UNKNOWN


# -- notifications --


def _groups(content: bytes) -> Iterator[Fields]:
    """The blocks of fields: one about the mail, then one for each recipient (RFC 3464, section 2.1)."""
    for block in re.split(rb"\n[ \t]*\n", content, maxsplit=MAX_RECIPIENTS):
        if fields := _fields(block):
            yield fields


def _recipient(fields: Fields) -> Recipient | None:
    action = _first(fields, "action").split()
    if not action:
        return None
    kind, said = _typed(_first(fields, "diagnostic-code"))
    status = _STATUS.search(_first(fields, "status"))
    return Recipient(
        action=action[0].lower(),
        status=".".join(map(str, map(int, status.groups()))) if status else "",
        final=_typed(_first(fields, "final-recipient"))[1].strip("<> "),
        original=_unescaped(_typed(_first(fields, "original-recipient"))[1].strip("<> ")),
        diagnostic=said,
        smtp=kind == "smtp",
    )


def _typed(value: str) -> tuple[str, str]:
    """``rfc822; a@b.example`` taken apart."""
    kind, semicolon, rest = value.partition(";")
    return (kind.strip().lower(), rest.strip()) if semicolon else ("", value.strip())


def _unescaped(text: str) -> str:
    """xtext (RFC 3461, section 4)."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), text)


# -- the mail --


def _lines(raw: bytes) -> bytes:
    return raw[:MAX_BYTES].replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _split(entity: bytes) -> tuple[Fields, bytes]:
    """Header and body of an entity; one that begins with an empty line has no header."""
    if entity.startswith(b"\n"):
        return {}, entity[1:]
    head, _, body = entity.partition(b"\n\n")
    return _fields(head), body


def _fields(block: bytes) -> dict[str, list[str]]:
    """Lower-case names -> values, unfolded, in order.  What is no field is passed over."""
    fields: dict[str, list[str]] = {}
    unfolded = re.sub(rb"\n[ \t]+", b" ", block)
    for line in unfolded.split(b"\n", MAX_FIELDS)[:MAX_FIELDS]:
        name, colon, value = line.partition(b":")
        if colon and len(name) <= 100:
            text = value[: 4 * MAX_VALUE].decode("utf-8", "replace")[:MAX_VALUE].strip()
            fields.setdefault(name.decode("ascii", "replace").strip().lower(), []).append(text)
    return fields


def _leaves(fields: Fields, body: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    """What :data:`_ENTITIES` names, in order, not looking into returned mail."""
    content_type = _first(fields, "content-type")
    kind = content_type.partition(";")[0].strip().lower()
    if kind.startswith("multipart/"):
        yield from _inside(content_type, body, depth) if depth else ()
    elif kind in _ENTITIES:
        yield _ENTITIES[kind], _decoded(body, _first(fields, "content-transfer-encoding").lower())


def _inside(content_type: str, body: bytes, depth: int) -> Iterator[tuple[str, bytes]]:
    match = _BOUNDARY.search(content_type)
    if match is None:
        return
    boundary = re.escape((match[1] or match[2]).encode())
    parts = re.split(rb"\n--" + boundary + rb"(--)?[ \t]*(?=\n|\Z)", b"\n" + body, maxsplit=MAX_PARTS)
    for closing, part in zip(parts[1::2], parts[2::2], strict=True):
        if closing:
            return
        yield from _leaves(*_split(part[1:]), depth - 1)


def _decoded(body: bytes, encoding: str) -> bytes:
    """What cannot be decoded stays as it is."""
    try:
        if encoding == "base64":
            return _lines(binascii.a2b_base64(body))
        return _lines(binascii.a2b_qp(body)) if encoding == "quoted-printable" else body
    except binascii.Error:
        return body


def _first(fields: Fields, name: str) -> str:
    return next(iter(fields.get(name, ())), "")


def _addresses(fields: Fields, names: tuple[str, ...]) -> list[str]:
    words = (word for name in names for value in fields.get(name, ()) for word in _BETWEEN.split(value))
    return [word for word in words if "@" in word][:MAX_NAMES]
