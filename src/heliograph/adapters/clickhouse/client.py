"""A connection, and what its errors mean.

``clickhouse-connect`` speaks to a server over HTTP and to chDB in the process with one interface; here, and only here,
its exceptions become those of the port.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec

from heliograph.ports.facts import FactsAway, FactsRefused

DATABASE: Final = "heliograph"
CONNECT_S: Final = 5
ANSWER_S: Final = 60
PORTS: Final = {"http": 8123, "https": 8443}
PASSING: Final = frozenset({159, 160, 202, 203, 209, 210, 225, 241, 242, 243, 252, 285, 319, 394, 425, 439, 473, 999})
"""Codes of ClickHouse that pass by themselves: timeouts, too many queries or parts, no memory, no room on the disk,
read-only or waiting for its keeper."""
MISSING: Final = "the facts extra is not installed; install heliograph[facts]"


class Place(msgspec.Struct, frozen=True):
    """Where the database is.  ``path``: of chDB's folder; else ``host`` and the rest."""

    database: str = DATABASE
    path: Path | None = None
    host: str = ""
    port: int = 0
    secure: bool = False
    user: str = "default"
    password: str = ""

    def __str__(self) -> str:
        if self.path is not None:
            return f"chdb://{self.path}"
        return f"http{'s' if self.secure else ''}://{self.host}:{self.port}/{self.database}"


def place_of(url: str) -> Place:
    """``chdb:///PATH`` or ``http(s)://user:password@host:port/database``; ValueError says what is wrong with it."""
    parts = urlsplit(url)
    if parts.scheme == "chdb":
        if parts.netloc or len(parts.path) < 2:
            raise ValueError("clickhouse.url: write chdb:///PATH with an absolute path")
        return Place(path=Path(unquote(parts.path)))
    if parts.scheme not in PORTS or not parts.hostname:
        raise ValueError("clickhouse.url is chdb:///PATH, http://HOST:PORT/DATABASE or https://...")
    return Place(
        database=parts.path.strip("/") or DATABASE,
        host=parts.hostname,
        port=parts.port or PORTS[parts.scheme],
        secure=parts.scheme == "https",
        user=unquote(parts.username or "default"),
        password=unquote(parts.password or ""),
    )


def connect(place: Place) -> Any:
    """A client of ``clickhouse-connect`` that works in the database, which is made when it is missing.  Raises
    :class:`FactsAway` or :class:`FactsRefused`."""
    with speaking(place):
        client = _client(place)
        there = client.query(
            "SELECT count() FROM system.databases WHERE name = {name:String}", {"name": place.database}
        )
        if not there.result_rows[0][0]:
            client.command(f"CREATE DATABASE IF NOT EXISTS {quoted(place.database)}")
        client.database = place.database
        return client


def quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"


def _client(place: Place) -> Any:
    try:
        import clickhouse_connect
    except ImportError:
        raise FactsRefused(MISSING) from None
    if place.path is not None:
        place.path.mkdir(parents=True, exist_ok=True)
        return clickhouse_connect.get_client(interface="chdb", path=str(place.path))
    return clickhouse_connect.get_client(
        host=place.host, port=place.port, username=place.user, password=place.password, secure=place.secure,
        connect_timeout=CONNECT_S, send_receive_timeout=ANSWER_S, query_retries=0, autogenerate_session_id=False,
    )  # fmt: skip


@contextlib.contextmanager
def speaking(place: Place) -> Iterator[None]:
    """What goes wrong inside is :class:`FactsAway` or :class:`FactsRefused`."""
    try:
        yield
    except (FactsAway, FactsRefused):
        raise
    except ImportError as error:
        raise FactsRefused(f"{MISSING} ({error})") from None
    except OSError as error:
        raise FactsAway(f"{place}: {error}") from error
    except Exception as error:
        raise _meant(place, error) from error


def _meant(place: Place, error: Exception) -> Exception:
    """Codes of the database decide; without one it was the way to it."""
    text = str(error).strip()
    if place.path is not None and "Unable to open the chdb engine" in text:
        return FactsAway(
            f"{place} is in use by another process, or damaged; `heliograph facts query` asks that process"
        )
    code = getattr(error, "code", None)
    if isinstance(code, int) and code not in PASSING:
        return FactsRefused(_short(text))
    if code is None and type(error).__name__ in ("ProgrammingError", "DataError", "NotSupportedError"):
        return FactsRefused(_short(text))
    return FactsAway(f"{place}: {_short(text)}")


def _short(text: str) -> str:
    return text if len(text) < 2_000 else text[:2_000] + " ..."
