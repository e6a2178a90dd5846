"""TLS, login, and the one plain line that ``send-test`` prints; against our receiver and against aiosmtpd."""

import asyncio
import datetime
import ipaddress
import ssl
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

from heliograph.adapters.smtp import Limits, Pool, parse_url, probe, sentence
from heliograph.ports import Parcel
from tests.smtp_servers import Receiver, listening

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
    async with listening(Receiver()) as receiver:
        pass
    assert await said(receiver.url) == f"127.0.0.1:{receiver.port}: nothing listens there (connection refused)"


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
