"""A private PostgreSQL for tests: its own cluster, files and port, in a folder of its own, synced like a real one.

Nothing of an installed PostgreSQL is used but its programs.  Two roles: ``owner`` makes the tables, ``app`` is what our
processes are and may only read and write rows.
"""

import asyncio
import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Coroutine
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import asyncpg

from tests.ports import free_port

PROGRAMS = sorted(map(str, Path("/usr/lib/postgresql").glob("*/bin")), reverse=True)
PATIENCE_S = 30.0
T = TypeVar("T")

SETTINGS = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = on
synchronous_commit = on
shared_buffers = 64MB
autovacuum_naptime = 5s
log_min_messages = fatal
"""
GRANTS = """
GRANT USAGE ON SCHEMA public TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES FOR ROLE owner IN SCHEMA public GRANT USAGE ON SEQUENCES TO app;
"""


def why_not() -> str:
    """Why there can be no PostgreSQL here; empty when there can."""
    if _program("initdb") is None:
        return "no PostgreSQL here; as root: sh scripts/postgres.sh"
    if os.geteuid() == 0 and not _unprivileged():
        return "PostgreSQL does not run as root, and there is nobody else here"
    return ""


def _program(name: str) -> str | None:
    return shutil.which(name, path=":".join([*PROGRAMS, "/usr/local/bin", os.environ.get("PATH", "")]))


def _unprivileged() -> str:
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), "")


class Cluster:
    """One server."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="heliograph-postgres-"))
        self._user = _unprivileged() if os.geteuid() == 0 else None
        self.give(self.folder)
        self.port = free_port()
        self._run(
            "initdb", "-D", str(self.folder / "data"), "-U", "super", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8"
        )
        with (self.folder / "data" / "postgresql.conf").open("a") as config:
            config.write(SETTINGS + f"port = {self.port}\n")
        self._databases = 0
        self.start()
        self.sql("CREATE ROLE owner LOGIN", "CREATE ROLE app LOGIN")

    def give(self, folder: Path) -> None:
        """The server may use it."""
        if self._user:
            shutil.chown(folder, self._user)

    def _run(self, program: str, *arguments: str) -> None:
        path = _program(program)
        assert path is not None
        subprocess.run(
            [path, *arguments], user=self._user, cwd=self.folder, check=True, stdout=subprocess.DEVNULL,
            env={**os.environ, "HOME": str(self.folder)},
        )  # fmt: skip

    def start(self) -> None:
        data = self.folder / "data"
        self._run("pg_ctl", "-D", str(data), "-l", str(self.folder / "log"), "-w", "-t", str(int(PATIENCE_S)), "start")

    def stop(self, how: str = "fast") -> None:
        self._run("pg_ctl", "-D", str(self.folder / "data"), "-m", how, "-w", "stop")

    def processes(self) -> list[int]:
        """The postmaster, and each process that serves somebody or keeps house."""
        postmaster = int((self.folder / "data" / "postmaster.pid").read_text().split()[0])
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text().split()
        return [postmaster, *map(int, children)]

    def signal(self, number: int) -> None:
        """To all of them; to the postmaster first, so that no other begins or ends meanwhile."""
        os.kill(self.processes()[0], number)
        for pid in self.processes()[1:]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def close(self) -> None:
        if (self.folder / "data" / "postmaster.pid").exists():
            self.signal(signal.SIGCONT)
            self.stop("immediate")
        shutil.rmtree(self.folder, ignore_errors=True)

    def database(self, where: str = "") -> str:
        """A new one, empty; the URL of its owner."""
        self._databases += 1
        name = f"heliograph{self._databases}"
        self.sql(f"CREATE DATABASE {name} OWNER owner {where}")
        self.sql(*GRANTS.strip().split("\n"), database=name)
        return self.url(name, "owner")

    def url(self, database: str = "postgres", user: str = "super") -> str:
        return f"postgresql://{user}@127.0.0.1:{self.port}/{database}"

    def sql(self, *statements: str, database: str = "postgres") -> list[Any]:
        """Do these as superuser; the rows of the last."""
        return ask(self.url(database), *statements)


def ask(url: str, *statements: str) -> list[Any]:
    async def work() -> list[Any]:
        connection = await asyncpg.connect(url, timeout=PATIENCE_S, command_timeout=PATIENCE_S)
        try:
            return [await connection.fetch(statement) for statement in statements][-1]
        finally:
            await connection.close()

    return apart(work())


def apart(work: Coroutine[Any, Any, T]) -> T:
    """Run it here and now, also inside a test that has a loop."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as other:
        return other.submit(asyncio.run, work).result()


@cache
def cluster() -> Cluster:
    """The one of this session, started when the first test wants it."""
    found = Cluster()
    atexit.register(found.close)
    return found


@cache
def app_url() -> str:
    """A database with all tables, for processes."""
    from heliograph.adapters.sql import migrating

    owner = cluster().database()
    migrating.upgrade(owner)
    return owner.replace("owner@", "app@")


def emptied() -> str:
    """:func:`app_url`, without a row."""
    url = app_url()
    tables = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> 'alembic_version'")
    ask(url, *(f"DELETE FROM {row[0]}" for row in tables))
    return url


def eventually(true: Any, patience_s: float = PATIENCE_S) -> None:
    """Wait until it is."""
    until = time.monotonic() + patience_s
    while not true():
        assert time.monotonic() < until, "it never came true"
        time.sleep(0.02)
