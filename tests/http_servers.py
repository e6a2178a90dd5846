"""HTTP servers of other people, good and bad, on real sockets: what a webhook may meet."""

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Asked(msgspec.Struct):
    """A request as it came in.  ``headers``: names in lower case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Answerer = Callable[[Asked, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def reply(status: int, body: bytes = b"", **headers: str) -> bytes:
    """The bytes of an answer."""
    lines = [f"HTTP/1.1 {status} X", f"content-length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def saying(*answers: bytes) -> Answerer:
    """These answers in turn, the last of them for ever."""
    left = list(answers)

    async def answer(_asked: Asked, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    return answer


class Site:
    """A listening server.  ``asked``: what it heard; ``connections``: how many were opened."""

    def __init__(self, answer: Answerer, secure: bool) -> None:
        self.asked: list[Asked] = []
        self.connections = self.open = self.most_open = 0
        self.answer = answer
        self.port = 0
        self._scheme = "https" if secure else "http"
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self.port}/hook"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            while True:
                asked = await _heard(reader)
                self.asked.append(asked)
                self.open += 1
                self.most_open = max(self.open, self.most_open)
                try:
                    await self.answer(asked, reader, writer)
                    await writer.drain()
                finally:
                    self.open -= 1
        self._writers.discard(writer)
        writer.close()

    def hang_up(self) -> None:
        for writer in self._writers:
            writer.transport.abort()


async def _heard(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    method, path, _ = head[0].split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    return Asked(method, path, headers, await reader.readexactly(int(headers.get("content-length", "0"))))


@contextlib.asynccontextmanager
async def site(answer: Answerer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Site]:
    found = Site(answer, tls is not None)
    server = await asyncio.start_server(found.serve, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        found.hang_up()


def certificate(folder: Path, name: str = "127.0.0.1", *, days: int = 1) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a server, signed by itself: (the server's context, that of a client who trusts it)."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address(name))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = made.public_bytes(serialization.Encoding.PEM)
    (folder / "server.pem").write_bytes(secret + pem)
    (folder / "trust.pem").write_bytes(pem)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "server.pem")
    return server, ssl.create_default_context(cafile=str(folder / "trust.pem"))
