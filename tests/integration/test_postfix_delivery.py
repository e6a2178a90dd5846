"""Debian's Postfix as the receiving server: mail in Maildirs, TLS, logins, refusals, limits, bounces.

Everything goes the whole way: engine, mailer process, smtpd, cleanup, qmgr, virtual.
"""

import asyncio
import email
import email.policy
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import dkim  # type: ignore[import-untyped]
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from heliograph.deliver.routes import single
from heliograph.ports import MessageRow
from heliograph.runtime.mailwire import DkimKey, MailerSender
from tests.certificates import Authority
from tests.mailing import ended, mailing, of, order, suppressed, tried
from tests.ports import free_port
from tests.postfix import BOUNCES, Postfix, postfix, why_not
from tests.postfix_helpers import greylist, logins, policy

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())

POLICY, LOGINS = free_port(), free_port()
SHOP = "shop@bounces.shop.example"
USER, PASSWORD = "shop", "p@ss word"
CLOSED = {"smtpd_client_restrictions": "permit_sasl_authenticated, reject"}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def server(authority: Authority) -> Iterator[Postfix]:
    certificate = authority.issue("localhost")
    tls = {"smtpd_tls_chain_files": str(certificate), "smtpd_tls_security_level": "encrypt"}
    sasl = {
        "smtpd_sasl_auth_enable": "yes",
        "smtpd_sasl_type": "dovecot",
        "smtpd_sasl_path": f"inet:127.0.0.1:{LOGINS}",
        "smtpd_tls_auth_only": "yes",
    }
    doors = {
        "open": {},
        "encrypted": {**tls, "smtpd_tls_received_header": "yes"},
        "login": {**tls, **sasl, **CLOSED},
        "greylisting": {"smtpd_recipient_restrictions": f"check_policy_service inet:127.0.0.1:{POLICY}"},
        "sender unknown": {"smtpd_reject_unlisted_sender": "yes"},
        "sender refused": {
            "smtpd_sender_restrictions": f"check_sender_access inline:{{ {{ {SHOP} = 550 5.7.1 not from you }} }}"
        },
        "small": {"message_size_limit": "1500"},
        "small and silent": {"message_size_limit": "1500", "smtpd_discard_ehlo_keywords": "size"},
        "rated": {"smtpd_client_message_rate_limit": "3"},
        "narrow": {"smtpd_client_connection_count_limit": "1"},
    }
    with postfix(doors) as running:
        yield running


_people = iter(range(200))


def somebody(count: int = 1) -> list[str]:
    """Addresses of people who never got mail before."""
    return [f"person-{next(_people)}@people.example" for _ in range(count)]


def box(address: str) -> str:
    return address.partition("@")[0]


async def arrived(server: Postfix, name: str, count: int = 1) -> list[EmailMessage]:
    """The mails in a Maildir, once there are so many: Postfix delivers behind its 250."""
    async with asyncio.timeout(20):
        while len(server.mails(name)) < count:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    read = (email.message_from_bytes(mail, policy=email.policy.default) for mail in server.mails(name))
    return [mail for mail in read if isinstance(mail, EmailMessage)]


def url(server: Postfix, door: str, options: str = "?starttls=off", login: str = "", host: str = "127.0.0.1") -> str:
    return f"smtp://{login}{host}:{server.ports[door]}{options}"


def text(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


async def test_everybody_finds_their_mail_in_their_maildir_once(server: Postfix) -> None:
    people = somebody(60)
    async with mailing(single(url(server, "open"))) as engine:
        await order(engine, people, subject="Grüße aus Köln", note="Dear all, thanks for 3 €.")
        rows = await ended(engine, people)
    assert {row.status for row in rows.values()} == {"sent"}
    for person in people:
        (mail,) = await arrived(server, box(person))
        assert (mail["To"], mail["Subject"]) == (person, "Grüße aus Köln")
        assert "Dear all, thanks for 3 €." in text(mail)
    assert len({mail["Message-ID"] for person in people for mail in await arrived(server, box(person))}) == len(people)


async def test_signatures_survive_the_way_through_postfix(server: Postfix) -> None:
    key = generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    sender = MailerSender(
        from_="Shop <shop@shop.example>", postal_address="1 Quay", dkim=(DkimKey("shop.example", "s1", pem),)
    )
    (person,) = somebody()
    async with mailing(single(url(server, "open")), sender=sender) as engine:
        await order(engine, [person], note=".a dot\n..two\n" + "x" * 5000 + " \t\n\n\n")
        await ended(engine, [person])
    await arrived(server, box(person))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).splitlines()[1:-1]
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public)
    (raw,) = server.mails(box(person))
    assert dkim.verify(raw.replace(b"\n", b"\r\n"), dnsfunc=lambda name, timeout=5: record)


async def test_starttls_with_a_private_authority(server: Postfix, authority: Authority) -> None:
    (person,) = somebody()
    routes = single(url(server, "encrypted", "?starttls=required", host="localhost"))
    async with mailing(routes, environment={"SSL_CERT_FILE": str(authority.file)}) as engine:
        await order(engine, [person])
        await ended(engine, [person])
    (mail,) = await arrived(server, box(person))
    assert "ESMTPS" in str(mail["Received"]) and "TLSv1.3" in str(mail["Received"])


async def test_nothing_leaves_for_a_server_whose_certificate_nobody_vouches_for(
    server: Postfix, tmp_path: Path
) -> None:
    (person,) = somebody()
    stranger = Authority(tmp_path, "somebody else")
    routes = single(url(server, "encrypted", "?starttls=required", host="localhost"))
    async with mailing(routes, environment={"SSL_CERT_FILE": str(stranger.file)}) as engine:
        await order(engine, [person])
        row = await tried(engine, person)
    assert row.status == "queued" and "certificate is not trusted" in row.reason
    assert not server.mails(box(person))


async def test_a_login_carries_mail_and_a_wrong_password_leaves_it_waiting(
    server: Postfix, authority: Authority
) -> None:
    async with logins(LOGINS, {USER: PASSWORD}):
        taken = await logged_in(server, authority, PASSWORD)
        refused = await logged_in(server, authority, "wrong")
    assert taken.status == "sent"
    (mail,) = await arrived(server, box(taken.address))
    assert "ESMTPSA" in str(mail["Received"])
    assert refused.status == "queued" and "535 5.7.8" in refused.reason


async def logged_in(server: Postfix, authority: Authority, password: str) -> MessageRow:
    """A message with this password, once it was tried."""
    (person,) = somebody()
    login = f"{USER}:{password.replace('@', '%40').replace(' ', '%20')}@"
    routes = single(url(server, "login", "?starttls=required", login, "localhost"))
    async with mailing(routes, environment={"SSL_CERT_FILE": str(authority.file)}) as engine:
        await order(engine, [person])
        row = await tried(engine, person)
        assert not suppressed(engine, person)
    return row


async def test_an_unknown_user_bounces_and_is_never_mailed_again(server: Postfix) -> None:
    async with mailing(single(url(server, "open"))) as engine:
        await order(engine, ["nobody@people.example"])
        rows = await ended(engine, ["nobody@people.example"])
        assert suppressed(engine, "nobody@people.example")
    (row,) = rows.values()
    assert row.status == "bounced" and row.reason.startswith("550 5.1.1")


@pytest.mark.parametrize(
    ("door", "sender", "code"),
    [
        ("sender unknown", "nobody@people.example", "550 5.1.0"),
        ("sender refused", SHOP, "550 5.7.1"),
    ],
)
async def test_what_is_about_the_sender_condemns_nobody(server: Postfix, door: str, sender: str, code: str) -> None:
    (person,) = somebody()
    from_ = MailerSender(from_=f"Shop <{sender}>", postal_address="1 Quay")
    async with mailing(single(url(server, door)), sender=from_) as engine:
        await order(engine, [person])
        row = await tried(engine, person)
        assert not suppressed(engine, person)
    assert code in row.reason


async def test_greylisted_mail_comes_back_and_arrives_once(server: Postfix) -> None:
    people = somebody(5)
    async with policy(POLICY, greylist()), mailing(single(url(server, "greylisting"))) as engine:
        await order(engine, people)
        assert {(await tried(engine, one)).status for one in people} == {"queued"}
        assert all(row.reason.startswith("450 4.7.1") for row in of(engine, set(people)).values())
        rows = await ended(engine, people)
        assert not any(suppressed(engine, one) for one in people)
    assert {row.status for row in rows.values()} == {"sent"}
    for person in people:
        assert len(await arrived(server, box(person))) == 1


@pytest.mark.parametrize("door", ["small", "small and silent"])
async def test_a_message_that_is_too_big_is_refused_and_condemns_nobody(server: Postfix, door: str) -> None:
    """Whether the server said its limit beforehand (then nothing is sent) or not."""
    (person,) = somebody()
    async with mailing(single(url(server, door))) as engine:
        await order(engine, [person], note="x" * 3000)
        rows = await ended(engine, [person])
        assert not suppressed(engine, person)
    assert rows[person].status == "bounced" and "5.3.4" in rows[person].reason
    assert not server.mails(box(person))


@pytest.mark.parametrize(
    ("door", "said"),
    [("rated", "request rate limit"), ("narrow", "concurrency limit")],
)
async def test_a_server_with_limits_gets_everything_once(server: Postfix, door: str, said: str) -> None:
    """More than three messages in two seconds are refused with 450, a second connection with 421."""
    people = somebody(10)
    async with mailing(single(url(server, door), connections=3)) as engine:
        await order(engine, people)
        rows = await ended(engine, people, pause_s=0.5)
        assert not any(suppressed(engine, one) for one in people)
    assert {row.status for row in rows.values()} == {"sent"}, {row.reason for row in rows.values()}
    async with asyncio.timeout(60):  # its log has a process of its own
        while said not in server.log:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    for person in people:
        assert len(await arrived(server, box(person))) == 1


SMUGGLED = (
    "MAIL FROM:<eve@evil.example>{nl}RCPT TO:<person-199@people.example>{nl}DATA{nl}Subject: smuggled{nl}{nl}hi{nl}"
)
ENDS = [
    "\r\n.\r\n",
    "\n.\n",
    "\r.\r",
    "\n.\r\n",
    "\r\n.\n",
    "\r\n.\r",
    "\r\r\n.\r\r\n",
    "\n.\r",
    "\u2028.\u2028",
    "\x85.\x85",
]


async def test_a_smuggled_message_stays_inside_of_its_carrier(server: Postfix) -> None:
    """CVE-2023-51764: what could end a message early for a lax server does not arrive as a second one."""
    payloads = {
        person: f"Hello{end}{SMUGGLED.format(nl=end[-1])}{end}end"
        for person, end in zip(somebody(len(ENDS)), ENDS, strict=True)
    }
    async with mailing(single(url(server, "open"))) as engine:
        for person, payload in payloads.items():
            await order(engine, [person], note=payload, subject=payload[:60])
        rows = await ended(engine, payloads)
    assert {row.status for row in rows.values()} == {"sent"}, {row.reason for row in rows.values()}
    for person, payload in payloads.items():
        (mail,) = await arrived(server, box(person))
        assert lines(text(mail)) == lines(payload), ascii(payload)
    assert not server.mails("person-199")


def lines(words: str) -> list[str]:
    """Text as its lines: in mail there is one kind of line end."""
    return words.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n").split("\n")


async def test_mail_that_bounces_later_comes_back_and_stops_the_address(server: Postfix) -> None:
    """smtpd takes it, delivery fails: Postfix's report (RFC 3464) goes to the envelope's sender, which names the
    message and proves it (VERP); fed back, it bounces that message and condemns that address, and no other."""
    gone, (person,) = "gone-1@people.example", somebody()
    sender = MailerSender(from_="Shop <shop@shop.example>", postal_address="1 Quay", return_path=f"back@{BOUNCES}")
    before = len(server.mails("bounces"))
    async with mailing(single(url(server, "open")), sender=sender) as engine:
        await order(engine, [gone, person])
        rows = await ended(engine, [gone, person])
        assert {row.status for row in rows.values()} == {"sent"}
        (report,) = (await arrived(server, "bounces", before + 1))[before:]
        assert report.get_content_type() == "multipart/report" and report["Return-Path"] == "<>"
        heard = await engine.feedback_mail(server.mails("bounces")[-1])
        assert (heard.kind, heard.message_id) == ("bounced", rows[gone].message_id)
        assert heard.proven and heard.suppressed
        after = of(engine, {gone, person})
        assert (after[gone].status, after[person].status) == ("bounced", "sent")
        assert suppressed(engine, gone) and not suppressed(engine, person)
