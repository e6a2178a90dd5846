"""The store of many machines: PostgreSQL, one statement a commit.  Its schema: :mod:`.migrating`, ``heliograph db``."""

from heliograph.adapters.sql.shared import PostgresStore

__all__ = ["PostgresStore"]
