"""10,000 naughty strings in every field of a message, over a real socket: one message in, one message out, and what a
reader decodes is what was said, but for the cleaning that is documented (decisions 0011 and 0039)."""

import asyncio
import os
import re
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from email import message_from_bytes, policy
from email.header import decode_header, make_header
from email.message import EmailMessage, Message
from email.utils import parseaddr
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiosmtpd.smtp import SMTP

from heliograph.adapters.smtp import wire
from heliograph.decide.consent import MAX_TOPIC
from heliograph.render import (
    BadAddress,
    Envelope,
    Rendered,
    Signer,
    Skip,
    Template,
    load,
    read_verp,
    render_message,
    split_mailbox,
    verify,
)
from heliograph.render.enclosures import MAX_NAME, part
from heliograph.render.headers import clean
from heliograph.render.links import MAX_URL
from heliograph.render.mime import base64_lines
from tests.naughty import strings
from tests.properties.test_dkim_laws import signatures
from tests.render.kit import KEYS, assert_lawful, compiled, envelope, keys, rendered

COUNT = 10_000
SEED = 20_261_122
BODY = """<p title="{{ profile.attribute }}">{{ profile.html }}</p><pre>{{ profile.markup | raw }}</pre>
<a href="https://shop.example/?q={{ profile.query }}">see</a>"""
FIELDS = (
    "subject", "preheader", "html", "attribute", "markup", "text", "query", "sender", "reply_to", "postal", "campaign",
    "project", "topic", "file", "template",
)  # fmt: skip


def message(values: dict[str, str], signers: tuple[Signer, ...]) -> tuple[Template, Envelope, dict[str, Any]]:
    """Every field says its value; where a setting must be a mailbox, what is none is left out."""
    profile = {name: values[name] for name in FIELDS[:7]}
    profile["subject"] = f"Re: {values['subject']}"  # else some are empty, which is a reason not to send
    name = file_name(values["file"])
    data = base64_lines(values["file"].encode(errors="replace")).decode()
    file = part({"file": name, "name": name, "type": "text/plain", "data": data})
    template = msgspec.structs.replace(_template(), attachments=(file,), name=values["template"])
    changes = {
        "from_": _mailbox(values["sender"], "hello@shop.example"),
        "reply_to": _mailbox(values["reply_to"], "care@shop.example"),
        "postal_address": values["postal"],
        "campaign": values["campaign"],
        "project": values["project"],
        "topic": values["topic"].encode(errors="replace").decode()[:MAX_TOPIC],
        "return_path": "bounce@mail.shop.example",
        "signers": signers,
    }
    return template, envelope(**changes), {"profile": profile}


def file_name(text: str) -> str:
    """A name that ``check`` lets through."""
    return re.sub(r'[/\\"<>]', "-", clean(text)).strip()[:MAX_NAME].strip() or "-"


@cache
def _template() -> Template:
    return load(
        compiled(BODY, subject="{{ profile.subject }}", preheader="{{ profile.preheader }}", text="{{ profile.text }}")
    )


def _mailbox(name: str, address: str) -> str:
    text = f"{name} <{address}>"
    try:
        return text if split_mailbox(text)[1] == address else address
    except BadAddress:
        return address


def cases(count: int, step: int = 1) -> Iterator[tuple[int, dict[str, str]]]:
    """Each string comes to stand in each field, beside others."""
    everything = strings(COUNT, SEED)
    for number in range(0, count, step):
        yield number, {field: everything[(number + 577 * at) % COUNT] for at, field in enumerate(FIELDS)}


class Inbox:
    """aiosmtpd's handler: keeps what came, unstuffed by aiosmtpd."""

    def __init__(self) -> None:
        self.mails: list[tuple[str, list[str], bytes]] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.mails.append((envelope.mail_from, envelope.rcpt_tos, envelope.content))
        return "250 2.0.0 Ok"


@asynccontextmanager
async def talking(inbox: Inbox) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(inbox, enable_SMTPUTF8=True, loop=loop), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await _replies(reader, 1)
    writer.write(b"EHLO sender.example\r\n")
    await _replies(reader, 1)
    try:
        yield reader, writer
    finally:
        writer.close()
        server.close()


async def _replies(reader: asyncio.StreamReader, count: int) -> list[bytes]:
    """Last lines of this many replies."""
    found: list[bytes] = []
    while len(found) < count:
        line = await asyncio.wait_for(reader.readline(), 10)
        assert line[:1] in b"23" and line, line
        if line[3:4] == b" ":
            found.append(line)
    return found


async def travel(mails: list[Rendered]) -> list[tuple[str, list[str], bytes]]:
    """What arrives of these, sent one after the other over one connection, as our client writes them."""
    inbox, offer = Inbox(), wire.Offer(pipelining=True, eightbit=True, smtputf8=True)
    async with talking(inbox) as (reader, writer):
        for mail in mails:
            writer.writelines((*wire.envelope(mail.sender, mail.recipient, mail.data, offer), b"DATA\r\n"))
            await _replies(reader, 3)
            writer.writelines((wire.stuffed(mail.data), wire.END))
            await _replies(reader, 1)
        writer.write(b"NOOP\r\n")  # what was smuggled would have answered first
        await _replies(reader, 1)
    return inbox.mails


CONTROLS = dict.fromkeys({*range(32), 127} - {9, 10})


def without_controls(text: str) -> str:
    """What decision 0011 leaves of a body."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    text = text.translate(CONTROLS)
    return text if text.endswith("\n") else text + "\n"


def decoded(field: str) -> str:
    return str(make_header(decode_header(field.replace("\r\n", ""))))  # the old parser does not unfold


def check_new(values: dict[str, str], sent: Rendered, sender: Envelope, arrived: bytes) -> None:
    """What a reader sees with the standard library's newer parser."""
    mail = message_from_bytes(arrived, policy=policy.SMTP)
    assert isinstance(mail, EmailMessage)
    assert mail["Subject"] == sent.subject == clean(f"Re: {values['subject']}")
    assert [one.addr_spec for one in mail["From"].addresses] == ["hello@shop.example"]
    assert [one.addr_spec for one in mail["To"].addresses] == ["ana@example.com"]
    assert [one.addr_spec for one in mail["Reply-To"].addresses] == ["care@shop.example"]
    _check_parts(values, sent, mail)


def check_old(values: dict[str, str], sent: Rendered, sender: Envelope, arrived: bytes) -> None:
    """What a reader sees with the older parser, which finds fewer excuses."""
    mail = message_from_bytes(arrived, policy=policy.compat32)
    assert mail.keys() == FIELD_NAMES
    assert decoded(mail["Subject"]) == sent.subject
    for field, written in (("From", sender.from_), ("Reply-To", sender.reply_to or "")):
        name, address = parseaddr(mail[field].replace("\r\n", ""))
        assert (decoded(name), address) == split_mailbox(written)
    _check_parts(values, sent, mail)


FIELD_NAMES = [
    "DKIM-Signature", "From", "To", "Subject", "Date", "Message-ID", "Reply-To", "List-Unsubscribe",
    "List-Unsubscribe-Post", "List-Id", "Feedback-ID", "MIME-Version", "Content-Type",
]  # fmt: skip


def _check_parts(values: dict[str, str], sent: Rendered, mail: Message) -> None:
    kinds = ["multipart/mixed", "multipart/alternative", "text/plain", "text/html", "text/plain"]
    assert [one.get_content_type() for one in mail.walk()] == kinds
    assert not any(one.defects for one in mail.walk())
    plain, rich, file = [one for one in mail.walk() if not one.is_multipart()]
    for one, said in ((plain, sent.text), (rich, sent.html)):
        assert one.get_payload(decode=True).decode().replace("\r\n", "\n") == without_controls(said)
    assert file.get_payload(decode=True) == values["file"].encode(errors="replace")
    assert file.get_filename() == file_name(values["file"])
    html = rich.get_payload(decode=True).decode()
    destination = f"https://shop.example/?q={values['query']}".encode(errors="replace").decode().strip()
    if len(destination) <= MAX_URL:
        (token,) = re.findall(r'href="https://mail\.shop\.example/c/([\w-]+)"', html)
        claims = verify("c", token, KEYS)
        assert claims is not None
        assert claims.url == destination


@pytest.mark.slow
@pytest.mark.parametrize("share", range(10))
async def test_one_message_in_one_message_out_equal_after_decoding(share: int) -> None:
    batch = [(number, values) for number, values in cases(COUNT) if number % 10 == share]
    signers = keys()[0][1:]
    made = [message(values, signers) for _, values in batch]
    mails = [render_message(template, context, sender) for template, sender, context in made]
    for mail in mails:
        assert_lawful(mail.data)
        assert mail.data.isascii()
    arrived = await travel(mails)
    assert len(arrived) == len(mails)
    for (number, values), (_, sender, _), mail, (path, to, data) in zip(batch, made, mails, arrived, strict=True):
        assert data == mail.data, f"case {number}"
        assert (read_verp(path, KEYS), to) == (sender.message_id, ["ana@example.com"])
        try:
            (check_old, check_new)[number // 10 % 2](values, mail, sender, data)
        except Exception as error:
            raise AssertionError(f"case {number} of seed {SEED}: {values!r}") from error


def test_no_string_as_an_address_says_more_than_one_address() -> None:
    """Skipped, refused, or one MAIL and one RCPT line and a message whose To is just that address."""
    offer, mailed = wire.Offer(pipelining=True, eightbit=True, smtputf8=True), 0
    for text in strings(COUNT // 4, SEED):
        for to in (text, f"{text}@example.com", f"ana@{text}", f"ana@{text}.example"):
            try:
                mail = render_message(_template(), {"profile": dict.fromkeys(FIELDS, "x")}, envelope(to=to))
                lines = wire.envelope(mail.sender, mail.recipient, mail.data, offer)
            except (Skip, wire.Refused):
                continue
            mailed += 1
            assert [line.count(b"\r\n") for line in lines] == [1, 1], ascii(to)
            assert lines[1] == f"RCPT TO:<{mail.recipient}>\r\n".encode()
            assert f"\r\nTo: {mail.recipient}\r\n".encode() in mail.data
            assert mail.recipient.rpartition("@")[2].isascii()
            assert_lawful(mail.data)
    assert mailed > 100


async def test_an_address_beyond_ascii_travels_with_its_signatures() -> None:
    """UTF-8 in the envelope and in the header (RFC 6531, 6532); the domain as A-label in both."""
    mail = rendered(to="jörg@bücher.example", reply_to="Für uns <für-uns@shop.example>", signers=keys()[0])
    assert mail.smtputf8
    ((sender, to, data),) = await travel([mail])
    assert (sender, to, data) == ("hello@shop.example", ["jörg@xn--bcher-kva.example"], mail.data)
    assert "\r\nTo: jörg@xn--bcher-kva.example\r\n".encode() in data
    assert data.partition(b"\r\n\r\n")[2].isascii()
    assert signatures(data) == 2


def sampled(count: int) -> list[bytes]:
    """Signed by both keys."""
    made = (message(values, keys()[0]) for _, values in cases(COUNT, COUNT // count))
    return [render_message(template, context, sender).data for template, sender, context in made]


def test_dkimpy_verifies_both_signatures() -> None:
    for data in sampled(1_000):
        assert signatures(data) == 2


def test_opendkim_verifies_both_signatures(tmp_path: Path) -> None:
    """By the C library that many receivers run; one process for all."""
    if (program := shutil.which("opendkim", path=f"{os.environ['PATH']}:/usr/sbin")) is None:
        pytest.skip("no opendkim here: sh scripts/opendkim.sh")
    records = b"".join(name.rstrip(b".") + b" " + value + b"\n" for name, value in keys()[1].items())
    (tmp_path / "keys").write_bytes(records)
    (tmp_path / "conf").write_text(f"Mode v\nTestPublicKeys {tmp_path / 'keys'}\n")
    mails = sampled(1_000)
    broken = mails[0].replace(b"List-Id: <", b"List-Id: <x", 1)
    for number, data in enumerate([*mails, broken]):
        (tmp_path / f"{number}.eml").write_bytes(data)
    files = ",".join(f"{number}.eml" for number in range(len(mails) + 1))
    command = [program, "-x", str(tmp_path / "conf"), "-v", "-v", "-t", files]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", check=True).stdout
    verdicts = [re.findall(r"\bdkim=(\w+)", one) for one in said.split("### INSHEADER")[1:]]
    assert verdicts == [["pass", "pass"]] * len(mails) + [["fail", "fail"]]
