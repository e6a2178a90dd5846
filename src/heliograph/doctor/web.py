"""The address that stands in mails, and a server that runs."""

import ssl
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit

import aiohttp

from heliograph.config import is_loopback
from heliograph.doctor.finding import Finding, fail, ok, skipped, warn
from heliograph.doctor.patient import Patient, where

PATIENCE: Final = aiohttp.ClientTimeout(total=10)
DATE_S: Final = 1.0
"""What HTTP's ``Date`` is cut to."""
BEGIN: Final = "start it: heliograph serve"


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
    status, said = await _ask(patient, url.rstrip("/") + "/healthz", "base_url")
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
    """The server of ``--url`` is ready."""
    if patient.url is None:
        return [skipped("web.server", "no --url: no running server was asked")]
    status, said = await _ask(patient, patient.url.rstrip("/") + "/readyz", "server")
    if status == 200:
        return [ok("web.server", f"{where(patient.url)} is ready")]
    return [fail("web.server", f"{where(patient.url)}: {said}", "its log says why" if status else BEGIN)]


async def _ask(patient: Patient, url: str, name: str) -> tuple[int, str]:
    """Status (0: none) and what to say about it; the clock is heard beside."""
    before = patient.now()
    try:
        async with (
            aiohttp.ClientSession(timeout=PATIENCE) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if date := answer.headers.get("date"):
                patient.hear_clock(name, parsedate_to_datetime(date).timestamp(), before, DATE_S)
            return answer.status, f"{answer.status} {answer.reason}"
    except (aiohttp.ClientConnectorCertificateError, ssl.SSLError) as error:
        return 0, f"its certificate is not trusted ({error.__cause__ or error})"
    except TimeoutError:
        return 0, f"no answer within {PATIENCE.total:g} s"
    except (aiohttp.ClientError, OSError, ValueError) as error:
        return 0, str(error) or type(error).__name__
