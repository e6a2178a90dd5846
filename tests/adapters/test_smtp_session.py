"""TLS, login, and the one plain line that ``send-test`` prints; against our receiver and against aiosmtpd."""

import asyncio
import datetime
import ipaddress
import ssl
import warnings
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import pytest_asyncio
from aiosmtpd.handlers import Sink
from aiosmtpd.smtp import SMTP, AuthResult, Envelope
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from msgspec.structs import replace

from heliograph.adapters.smtp import Limits, Pool, Trust, parse_url, probe, sentence
from heliograph.adapters.smtp.opening import Opener, Origin
from heliograph.ports import Parcel
from tests.certificates import Authority
from tests.ports import free_port
from tests.smtp_servers import DROP, STALL, Receiver, listening

QUICK = Limits(connections=1, connect_s=2, greeting_s=2, command_s=2, data_s=2, dot_s=2, quit_s=0.2)
PARCEL = Parcel("m1", "shop@shop.example", "ada@people.example", b"Subject: dots\r\n\r\n.one\r\n..two\r\n.\r\nend\r\n")


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-made certificate for 127.0.0.1, with its key, in one PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    file.write_bytes(private + made.public_bytes(pem))
    return file


def serving(certificate: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    return context


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=certificate.read_text().partition("-----END PRIVATE KEY-----\n")[2])


async def said(url: str, trust: ssl.SSLContext | None = None, parcel: Parcel = PARCEL) -> str:
    return sentence(parcel, await probe(lambda courier: Pool(parse_url(url), courier, QUICK, trust), parcel))


async def test_success_names_the_reply() -> None:
    async with listening(Receiver()) as receiver:
        line = await said(receiver.url)
    who = f"127.0.0.1:{receiver.port} (no TLS)"
    assert line == f"{who} accepted the message for ada@people.example: 250 2.0.0 Ok: queued"
    assert receiver.mails[0].data == PARCEL.data


async def test_an_unreachable_host_is_named() -> None:
    port = free_port()
    assert await said(f"smtp://127.0.0.1:{port}") == f"127.0.0.1:{port}: nothing listens there (connection refused)"


async def test_a_refused_recipient_is_named_with_the_reply() -> None:
    async with listening(Receiver(rules={"rcpt": b"550 5.1.1 no such user\r\n"})) as receiver:
        line = await said(receiver.url)
    assert line.endswith("refused the recipient ada@people.example: 550 5.1.1 no such user")


async def test_a_greeting_that_refuses_is_quoted() -> None:
    async with listening(Receiver(rules={"greeting": b"554 5.3.2 no service\r\n"})) as receiver:
        assert "takes no mail: 554 5.3.2 no service" in await said(receiver.url)


@pytest.mark.parametrize("scheme", ["starttls", "smtps"])
async def test_tls_with_a_trusted_certificate_carries_mail(certificate: Path, scheme: str) -> None:
    url, implicit, receiver = tls_receiver(certificate, scheme)
    async with listening(receiver, implicit_tls=implicit):
        assert "accepted" in await said(url.format(port=receiver.port), trusting(certificate))
    assert receiver.mails[0].data == PARCEL.data


@pytest.mark.parametrize("scheme", ["starttls", "smtps"])
async def test_a_certificate_that_nobody_vouches_for_is_a_tls_failure_with_its_reason(
    certificate: Path, scheme: str
) -> None:
    url, implicit, receiver = tls_receiver(certificate, scheme)
    async with listening(receiver, implicit_tls=implicit):
        line = await said(url.format(port=receiver.port))
    assert line == f"TLS with 127.0.0.1:{receiver.port} failed: the certificate is not trusted: self-signed certificate"
    assert not receiver.mails


def tls_receiver(certificate: Path, scheme: str) -> tuple[str, ssl.SSLContext | None, Receiver]:
    context = serving(certificate)
    if scheme == "smtps":
        return "smtps://127.0.0.1:{port}", context, Receiver()
    return "smtp://127.0.0.1:{port}?starttls=required", None, Receiver(tls=context)


async def test_required_tls_never_falls_back() -> None:
    async with listening(Receiver()) as receiver:
        line = await said(receiver.url + "?starttls=required")
    assert line.endswith("offers no STARTTLS, and the url says starttls=required")
    assert not any(command.startswith("MAIL") for command in receiver.commands)


async def test_optional_tls_encrypts_without_asking_whose_certificate_it_is(certificate: Path) -> None:
    async with listening(Receiver(tls=serving(certificate))) as receiver:
        assert "accepted" in await said(receiver.url)
    assert receiver.commands[:2][1] == "STARTTLS"
    assert [command.split()[0] for command in receiver.commands].count("EHLO") == 2


async def test_optional_tls_that_fails_goes_on_in_clear_only_without_a_login(certificate: Path) -> None:
    async with listening(Receiver(rules={"starttls": b"454 4.7.0 not now\r\n"}, tls=serving(certificate))) as receiver:
        assert "accepted" in await said(receiver.url)
        line = await said(receiver.url.replace("smtp://", "smtp://ada:secret@"))
    assert line.endswith("refused STARTTLS: 454 4.7.0 not now")


async def test_off_never_tries_tls(certificate: Path) -> None:
    async with listening(Receiver(tls=serving(certificate))) as receiver:
        assert "accepted" in await said(receiver.url + "?starttls=off")
    assert "STARTTLS" not in receiver.commands


async def test_a_login_that_is_not_offered_is_said() -> None:
    async with listening(Receiver()) as receiver:
        assert "offers no login here" in await said(receiver.url.replace("smtp://", "smtp://ada:x@"))


class Kept(Sink):
    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, server: Any, session: Any, envelope: Envelope) -> str:
        self.envelopes.append(envelope)
        return "250 2.0.0 kept"


def check_password(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
    return AuthResult(success=(data.login, data.password) == (b"ada@shop", b"p:a/s@s"), handled=False)


class Login(NamedTuple):
    port: int
    kept: Kept


@pytest_asyncio.fixture(params=["PLAIN", "LOGIN"])
async def login(request: pytest.FixtureRequest, certificate: Path) -> AsyncIterator[Login]:
    """aiosmtpd: STARTTLS before AUTH, one mechanism."""
    kept = Kept()

    def talk() -> SMTP:
        return SMTP(
            kept,
            hostname="127.0.0.1",
            tls_context=serving(certificate),
            require_starttls=True,
            auth_required=True,
            authenticator=check_password,
            auth_exclude_mechanism=[{"PLAIN": "LOGIN", "LOGIN": "PLAIN"}[request.param]],
        )

    server = await asyncio.get_running_loop().create_server(talk, "127.0.0.1", 0)
    yield Login(server.sockets[0].getsockname()[1], kept)
    server.close()
    await asyncio.sleep(0.01)


async def test_aiosmtpd_takes_our_login_and_our_mail(login: Login, certificate: Path) -> None:
    url = f"smtp://ada%40shop:p%3Aa%2Fs%40s@127.0.0.1:{login.port}?starttls=required"
    assert (await said(url, trusting(certificate))).endswith("250 2.0.0 kept")
    assert login.kept.envelopes[0].content == PARCEL.data


async def test_a_wrong_password_is_one_plain_line(login: Login, certificate: Path) -> None:
    line = await said(f"smtp://ada%40shop:wrong@127.0.0.1:{login.port}?starttls=required", trusting(certificate))
    assert line.startswith(f"127.0.0.1:{login.port} refused the login of ada@shop: 535 5.7.8")
    assert "wrong" not in line


async def test_a_private_authority_is_trusted_beside_the_system(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    trust = Trust(authority.file.read_text())
    async with listening(Receiver(tls=authority.serving())) as receiver:
        url = receiver.url + "?starttls=required"
        verdict = await probe(lambda courier: Pool(parse_url(url), courier, QUICK, trust), PARCEL)
    assert (verdict.kind, verdict.via) == ("sent", f"127.0.0.1:{receiver.port} (TLSv1.3, certificate verified)")


async def test_tls_before_1_2_is_no_tls(certificate: Path) -> None:
    """``optional`` falls back to clear text, ``required`` sends nothing."""
    old = serving(certificate)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT:@SECLEVEL=0")
    async with listening(Receiver(tls=old)) as receiver:
        assert "(no TLS) accepted" in await said(receiver.url)
        assert "failed" in await said(receiver.url + "?starttls=required", trusting(certificate))
    assert len(receiver.mails) == 1


@pytest.mark.parametrize(
    "rule", [STALL, DROP, b"\x15\x03\x01\x00\x02\x02\x0a\r\n"], ids=["silent", "hangs up", "alert"]
)
async def test_a_port_that_wants_tls_first_is_hinted_at(rule: object) -> None:
    async with listening(Receiver(rules={"greeting": rule})) as receiver:  # type: ignore[dict-item]
        limits = replace(QUICK, greeting_s=0.2)
        verdict = await probe(lambda courier: Pool(parse_url(receiver.url), courier, limits), PARCEL)
    assert (verdict.kind, verdict.stage) == ("retry", "connect")
    assert verdict.reply.endswith("then the url begins with smtps://)")


async def test_a_port_that_really_wants_tls_first_is_hinted_at(certificate: Path) -> None:
    async with listening(Receiver(), implicit_tls=serving(certificate)) as receiver:
        limits = replace(QUICK, greeting_s=0.2)
        verdict = await probe(lambda courier: Pool(parse_url(receiver.url), courier, limits), PARCEL)
    assert "smtps://" in verdict.reply


async def test_a_server_that_knows_no_ehlo_is_greeted_with_helo() -> None:
    async with listening(Receiver(rules={"ehlo": b"502 5.5.1 what?\r\n"})) as receiver:
        assert "accepted" in await said(receiver.url)
    assert [command.split()[0] for command in receiver.commands[:3]] == ["EHLO", "HELO", "MAIL"]


async def test_we_are_greeted_by_name_and_come_from_the_address_that_was_asked_for() -> None:
    async with listening(Receiver()) as receiver:
        opener = Opener(parse_url(receiver.url), QUICK, Trust(), Origin("mail.shop.example", "127.0.0.9"), "127.0.0.1")
        session = await opener.open()
        assert session.transport.get_extra_info("sockname")[0] == "127.0.0.9"
        session.transport.abort()
    assert receiver.commands == ["EHLO mail.shop.example"]


async def test_a_message_that_the_network_stops_taking_is_tried_again_in_time() -> None:
    """RFC 5321, 4.5.3.2.5: the limit is for each block of data, not for the message; a dot that never left is no
    reason for ``unknown``."""
    async with listening(Receiver(rules={"body": STALL})) as receiver:
        limits = replace(QUICK, block_s=0.2, dot_s=60)
        long = Parcel(
            "m1", "shop@shop.example", "ada@people.example", b"x: y\r\n\r\n" + (b"x" * 76 + b"\r\n") * 100_000
        )
        verdict = await probe(lambda courier: Pool(parse_url(receiver.url), courier, limits), long)
    assert (verdict.kind, verdict.reply) == ("retry", "the network took nothing for 0.2 s")
