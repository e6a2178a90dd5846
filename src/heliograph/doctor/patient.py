"""What the doctor looks at, and what every check may use."""

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from heliograph.adapters.dns import Resolver
from heliograph.config import Settings
from heliograph.decide.times import ms

HIDDEN: Final = "***"
SHORTEST_SECRET: Final = 4
"""Shorter ones are hidden nowhere: half of every sentence would be."""


@dataclass
class Patient:
    """``settings`` None: they cannot be read, so most of the rest is not looked at.  ``url``: of a server to ask
    beside ``project.base_url``.  ``mend``: what can be mended from here is."""

    project: Path
    data: Path
    settings: Settings | None
    dns: Resolver | None = None
    url: str | None = None
    mend: bool = False
    now: Callable[[], float] = time.time
    """Unix time in seconds."""
    clocks: dict[str, float] = field(default_factory=dict)
    """Seconds by which the clock of each server is ahead of ours, as checks come across it."""

    def hear_clock(self, server: str, theirs: float, before: float, resolution: float = 0.0) -> None:
        """A server said its time (Unix seconds, cut to ``resolution``) between ``before`` and now."""
        self.clocks[server] = theirs + resolution / 2 - (before + self.now()) / 2


def seconds(duration: str) -> float:
    """An ISO-8601 duration of the settings."""
    return ms(duration) / 1000


def where(url: str) -> str:
    """A url without what may be secret: ``redis://10.0.0.4:6379``."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def secrets_of(settings: Settings) -> frozenset[str]:
    """Every password, token and key that the settings hold, as written and decoded."""
    found = {settings.collect.write_key, settings.api.token, settings.kafka.password, *settings.webhooks.secrets}
    urls = (settings.smtp.url, settings.postgres.url, settings.redis.url, settings.clickhouse.url)
    for url in (*urls, *(relay.url for relay in settings.relay.values())):
        found |= set(_passwords(url))
    return frozenset(secret for secret in found if len(secret) >= SHORTEST_SECRET)


def _passwords(url: str) -> Iterator[str]:
    written = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    yield from (written, unquote(written))
    yield from (unquote(word) for word in re.findall(r"password=([^&]+)", url))


def hide(text: str, secrets: frozenset[str]) -> str:
    """The text without them, the longest first."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
