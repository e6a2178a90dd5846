"""The address that stands in mails, and a server that runs."""

import ssl
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp
import msgspec

from heliograph.config import is_loopback
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, where
from heliograph.ports import Trouble

PATIENCE: Final = aiohttp.ClientTimeout(total=10)
DATE_S: Final = 1.0
"""What HTTP's ``Date`` is cut to."""
BEGIN: Final = "start it: heliograph serve"


class _Ready(msgspec.Struct):
    """What ``/readyz`` answers."""

    troubles: list[Trouble] = []


async def base_url(patient: Patient) -> list[Finding]:
    """Links in mail lead there: from the world, and by https."""
    if patient.settings is None:
        return []
    url = patient.settings.project.base_url
    parts = urlsplit(url)
    if is_loopback(parts.hostname or ""):
        return [
            warn(
                "web.base_url",
                f"{url} is this machine alone",
                'receivers cannot follow links there: project.base_url = "https://..."',
            )
        ]
    status, said, _ = await _ask(patient, url.rstrip("/") + "/healthz", "base_url")
    if status != 200:
        return [
            fail(
                "web.base_url",
                f"{url}: {said}",
                "links in mail lead there: DNS, certificate, and the proxy in front (deploy/nginx, deploy/caddy)",
            )
        ]
    if parts.scheme != "https":
        return [
            fail(
                "web.base_url",
                f"{url} is not encrypted",
                "one-click unsubscribe needs https (RFC 8058): put TLS in front (docs/how-to/deploy.md)",
            )
        ]
    return [ok("web.base_url", f"{url} answers")]


async def server(patient: Patient) -> list[Finding]:
    """The server of ``--url`` is ready, and what it misses."""
    if patient.url is None:
        return [skipped("web.server", "no --url: no running server was asked")]
    status, said, body = await _ask(patient, patient.url.rstrip("/") + "/readyz", "server")
    if status != 200:
        return [fail("web.server", f"{where(patient.url)}: {said}", "its log says why" if status else BEGIN)]
    return [ok("web.server", f"{where(patient.url)} is ready"), *_troubles(body)]


def _troubles(body: bytes) -> list[Finding]:
    """Of a server that takes work, and not all of it."""
    try:
        troubles = msgspec.json.decode(body, type=_Ready).troubles
    except msgspec.MsgspecError:
        return []  # something in front of it answers
    return [
        warn(f"web.server.{number}", f"{one.what}: {one.why}", f"meanwhile: {one.means}")
        for number, one in enumerate(troubles, 1)
    ]


async def _ask(patient: Patient, url: str, name: str) -> tuple[int, str, bytes]:
    """Status (0: none), what to say about it, and the body; the clock is heard beside."""
    before = patient.now()
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if date := answer.headers.get("date"):
                patient.hear_clock(name, parsedate_to_datetime(date).timestamp(), before, DATE_S)
            return answer.status, f"{answer.status} {answer.reason}", await answer.read()
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as error:
        return 0, f"its certificate is not trusted ({error.__cause__ or error})", b""
    except TimeoutError:
        return 0, f"no answer within {PATIENCE.total:g} s", b""
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return 0, str(error) or type(error).__name__, b""
