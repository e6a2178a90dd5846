"""The tables, as SQLAlchemy knows them; what each is for stands in ``docs/reference/postgres.md``.

Every key begins with the workspace and, per person, the bucket (of 1,024), so a table can be partitioned by range of
buckets later.  All text is ``bytea`` in UTF-8 (:mod:`.spell`): bytes sort by code point whatever the database's locale
is, and NUL fits.  Rows whose fields only ever grow are msgpack in ``row``, beside the fields that are
searched.  Times are ms UTC.

A message is unique by its id alone, not by its person's bucket: two people who hold one address may be decided the very
same message of a broadcast, and only one of them may have it.  Partition ``messages`` by hash of the id.
"""

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    text,
)

metadata: Final = MetaData(
    naming_convention={"pk": "%(table_name)s_pkey", "ix": "%(table_name)s_%(column_0_N_name)s"},
)


def _space() -> Column[int]:
    return Column("workspace", SmallInteger, primary_key=True, autoincrement=False)


def _bucket(**more: Any) -> Column[int]:
    return Column("bucket", SmallInteger, nullable=False, autoincrement=False, **more)


def _key(name: str) -> Column[bytes]:
    return Column(name, LargeBinary, primary_key=True)


def _text(name: str, **more: Any) -> Column[bytes]:
    return Column(name, LargeBinary, **{"nullable": False, **more})


def _number(name: str, **more: Any) -> Column[int]:
    return Column(name, BigInteger, **{"nullable": False, "autoincrement": False, **more})


def _table(name: str, *columns: Any) -> Table:
    return Table(name, metadata, _space(), *columns)


def _person(name: str, *columns: Any) -> Table:
    """A table by person."""
    return _table(name, _bucket(primary_key=True), _key("key"), *columns)


# -- people --

_person("states", _text("blob"))
_person(
    "wakeups",
    _number("deadline"),
    Index("wakeups_by_time", "workspace", "deadline", "key"),
)
_person(
    "history",
    _number("occurred_at", primary_key=True),
    _key("event_id"),
    _number("received_at"),
    _text("name", nullable=True),
    _text("data"),
    Index("history_by_id", "workspace", "bucket", "key", "event_id"),
)
_person(
    "journal", _number("at", primary_key=True), Column("number", BigInteger, Identity(), primary_key=True), _text("row")
)
_person("merges", _key("source"), Column("source_bucket", SmallInteger, nullable=False))

# -- mail and what waits --

_table(
    "messages",
    _key("message_id"),
    _bucket(),
    _text("key"),
    _number("created_at"),
    _text("status"),
    _text("journey"),
    Column("broadcast", Boolean, nullable=False),
    _number("rev"),
    _text("row"),
    Index("messages_by_time", "workspace", text("(~created_at)"), "message_id"),
    Index("messages_by_person", "workspace", "bucket", "key", text("(~created_at)"), "message_id"),
    Index("messages_by_status", "workspace", "status", text("(~created_at)"), "message_id"),
    Index(
        "messages_by_broadcast", "workspace", "journey", "status", text("(~created_at)"), "message_id",
        postgresql_where=text("broadcast"),
    ),
)  # fmt: skip
_table("requests", _key("request_id"), _text("row"))
_table(
    "broadcasts",
    _key("broadcast_id"),
    _number("created_at"),
    _text("row"),
    Index("broadcasts_by_time", "workspace", text("(~created_at)"), "broadcast_id"),
)

# -- consent and look-ups --

_table(
    "ledger",
    _key("address"),
    _key("topic"),
    Column("given", Boolean, nullable=False),
    _number("at"),
    _text("row"),
    Index(
        "ledger_stopped", "workspace", "address", "topic",
        postgresql_where=text("NOT given AND substring(topic FROM 1 FOR 1) = '\\x21'::bytea"),
    ),
)  # fmt: skip
_table("emails", _key("address"), _key("key"))
_table("members", _key("name"), _bucket(primary_key=True), _key("key"), _number("since"))
_table("member_counts", _key("name"), _bucket(primary_key=True), _number("people"))
_table(
    "dead_letters",
    _key("id"),
    _number("at"),
    _text("row"),
    Index("dead_letters_by_time", "workspace", text("(~at)"), "id"),
)

# -- small things --

_table("plans", _number("version", primary_key=True), _number("published_at"), _text("document"))
_table("meta", _key("name"), _text("value"))
_table("sweeps", _key("name"), _text("place"))
_table("long_texts", _key("place"), _text("whole"))

# -- several processes --

_table(
    "processes",
    Column("process", BigInteger, Identity(), primary_key=True),
    _text("name"),
    _number("committed"),
    _number("last_at"),
    _number("seen_at"),
    _number("publishing_until"),
)
_table(
    "relay",
    Column("number", BigInteger, Identity(), primary_key=True),
    _number("holder"),
    _text("id"),
    _text("topic"),
    _text("key"),
    _text("value"),
    Index("relay_by_holder", "workspace", "holder", "number"),
)
_table("offsets", _key("topic"), Column("partition", Integer, primary_key=True, autoincrement=False), _number("next"))
_table(
    "claims",
    Column("partition", Integer, primary_key=True, autoincrement=False),
    _text("owner"),
    _number("epoch"),
    _number("lease_until"),
)
_table("leads", _key("job"), _text("owner"), _number("lease_until"))
