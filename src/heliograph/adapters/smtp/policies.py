"""The MTA-STS policies of domains: fetched when their record's id changes, kept for their ``max_age``, on disk too.

A policy that is known holds until it expires, also when record and policy host are gone: whoever can take those away
must not be able to take the policy away (RFC 8461, 10.2).  For the same reason policies survive a restart: one small
file a domain, written whole and renamed; mailers of one server share the folder.
"""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

import msgspec

from heliograph.deliver.mta_sts import BadPolicy, Policy, parse, record_id
from heliograph.ports import MailDns

KEPT: Final = 10_000
"""Policies in memory, and about as many files; those fetched first go first."""
AGAIN_S: Final = 300.0
"""After a fetch that failed (RFC 8461, 3.3)."""
REFRESH_S: Final = 86_400.0
"""A policy in use is fetched again daily, so that it does not expire while somebody blocks the way to it."""


class Fetcher(Protocol):
    """Where policies come from."""

    async def fetch(self, domain: str) -> str:
        """The text of its policy; :class:`BadPolicy` says why there is none."""
        ...

    async def close(self) -> None: ...


class Known(msgspec.Struct, frozen=True):
    """``fetched_at``: Unix time in seconds."""

    domain: str
    id: str
    fetched_at: float
    policy: Policy


class Policies:
    """``folder``: where policies survive a restart, None for nowhere.  ``now``: Unix time."""

    def __init__(
        self, dns: MailDns, fetcher: Fetcher, folder: Path | None = None, now: Callable[[], float] = time.time
    ) -> None:
        self._dns, self._fetcher, self._folder, self._now = dns, fetcher, folder, now
        self._known: dict[str, Known | None] = {}
        self._failed: dict[str, float] = {}
        self._fetching: dict[str, asyncio.Task[Known | None]] = {}
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            _thin_out(folder)

    async def policy(self, domain: str) -> Policy | None:
        """The policy in force; None when there is none, or none that can be had."""
        latest = record_id((await self._dns.texts(f"_mta-sts.{domain}")).found)
        known = self._valid(domain)
        if known is not None and latest in ("", known.id):
            if latest and self._now() - known.fetched_at > REFRESH_S:
                self._fetched(domain, latest)  # nobody waits for it
            return known.policy
        if latest:
            known = await asyncio.shield(self._fetched(domain, latest)) or known
        return known.policy if known else None

    async def close(self) -> None:
        tasks = list(self._fetching.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._fetcher.close()

    def _valid(self, domain: str) -> Known | None:
        if domain not in self._known:
            self._keep(domain, self._read(domain))
        known = self._known[domain]
        alive = known is not None and self._now() < known.fetched_at + known.policy.max_age
        return known if alive else None

    def _fetched(self, domain: str, latest: str) -> asyncio.Task[Known | None]:
        """One fetch at a time for a domain."""
        task = self._fetching.get(domain)
        if task is None:
            task = self._fetching[domain] = asyncio.create_task(self._get(domain, latest))
            task.add_done_callback(lambda _: self._fetching.pop(domain, None))
        return task

    async def _get(self, domain: str, latest: str) -> Known | None:
        if self._now() < self._failed.get(domain, 0.0):
            return None
        try:
            policy = parse(await self._fetcher.fetch(domain))
        except BadPolicy:
            self._failed[domain] = self._now() + AGAIN_S
            while len(self._failed) > KEPT:
                del self._failed[next(iter(self._failed))]
            return None
        known = Known(domain, latest, self._now(), policy)
        self._keep(domain, known)
        self._write(known)
        return known

    def _keep(self, domain: str, known: Known | None) -> None:
        self._known.pop(domain, None)
        self._known[domain] = known
        while len(self._known) > KEPT:
            del self._known[next(iter(self._known))]

    # -- on disk --

    def _file(self, domain: str) -> Path | None:
        if self._folder is None:
            return None
        return self._folder / f"{hashlib.blake2b(domain.encode(), digest_size=16).hexdigest()}.json"

    def _read(self, domain: str) -> Known | None:
        file = self._file(domain)
        if file is None:
            return None
        try:
            known = msgspec.json.decode(file.read_bytes(), type=Known)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if known.domain == domain else None

    def _write(self, known: Known) -> None:
        """A full disk costs protection after the next restart, no mail now."""
        if (file := self._file(known.domain)) is None:
            return
        part = file.with_suffix(f".{id(self):x}.part")
        with contextlib.suppress(OSError):
            part.write_bytes(msgspec.json.encode(known))
            part.replace(file)


def _thin_out(folder: Path) -> None:
    """At a start, so that the folder never outgrows what is remembered by much."""
    files = sorted(folder.glob("*"), key=lambda file: file.stat().st_mtime)
    for file in files[: max(0, len(files) - KEPT)]:
        file.unlink(missing_ok=True)
