"""Which schema a database must have, and what to do about any other."""

from typing import Final
from urllib.parse import urlsplit, urlunsplit

from heliograph.ports import StoreFailed, StoreTooNew

REVISIONS: Final = ("0001", "0002", "0003")
"""Every schema that this version knows, oldest first."""
HEAD: Final = REVISIONS[-1]


def check(found: str) -> None:
    """Refuse to start on any schema but the head."""
    if found == HEAD:
        return
    if found and found not in REVISIONS:
        raise StoreTooNew(newer(found))
    raise StoreFailed(
        f"The database has {f'schema {found}' if found else 'no tables of Heliograph'}, this version needs schema "
        f"{HEAD}; run: heliograph db upgrade"
    )


def newer(found: str) -> str:
    return (
        f"The database has schema {found}, and this version of Heliograph knows none after {HEAD}; run the version "
        f"that made it, or that version's: heliograph db downgrade {HEAD}"
    )


def shown(url: str) -> str:
    """The URL without its password, for sentences."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    return urlunsplit(parts._replace(netloc=f"{parts.username}@{parts.netloc.rpartition('@')[2]}"))
