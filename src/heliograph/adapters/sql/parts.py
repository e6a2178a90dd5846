"""What a commit may write: for each table the rows that stand in the commit, and the SQL that takes them.

``{0}`` is the first column of a part, as an array for ``unnest``; ``{held}`` makes the write wait for the checks of the
commit (:mod:`.writes`); ``{process}`` is the process that commits.  Rows are sorted by their keys, so that two commits
never wait for each other crosswise.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeAlias

import msgspec

from heliograph.adapters.sql.spell import LONGEST, place
from heliograph.decide.broadcasts import broadcast_of
from heliograph.events.ids import bucket
from heliograph.events.record import EventBody, MergeInto
from heliograph.ports import Commit, MessageRow

encode: Final = msgspec.msgpack.Encoder().encode

Rows: TypeAlias = Iterable[tuple[Any, ...]]


class Part(NamedTuple):
    """``sql``: a common table expression, or several; the first is called ``write_NAME``.  ``whole``: it returns each
    row that it wrote, and when it did not write all of them somebody else was first."""

    name: str
    sql: str
    rows: Callable[[Commit], Rows]
    whole: bool = False


def person(key: str) -> tuple[int, bytes]:
    """Where somebody's rows stand."""
    return bucket(key), place(key)


# -- rows --


def _states(commit: Commit) -> Rows:
    return sorted((*person(key), blob) for key, blob in commit.states.items() if blob is not None)


def _gone_states(commit: Commit) -> Rows:
    return sorted(person(key) for key, blob in commit.states.items() if blob is None)


def _wakeups(commit: Commit) -> Rows:
    return sorted((*person(key), new) for key, (old, new) in commit.wakeups.items() if new is not None and old != new)


def _gone_wakeups(commit: Commit) -> Rows:
    return sorted(person(key) for key, (old, new) in commit.wakeups.items() if new is None and old is not None)


def _history(commit: Commit) -> Rows:
    rows: dict[tuple[int, bytes, int, bytes], tuple[Any, ...]] = {}
    for _, record in commit.log:
        if isinstance(record.body, EventBody):
            event = record.body.event
            name = place(event.name) if event.name.isascii() else None
            at = (*person(record.key), event.occurred_at, place(event.event_id))
            rows.setdefault(at, (*at, record.received_at, name, encode(event)))
    return (rows[at] for at in sorted(rows))


def _merges(commit: Commit) -> Rows:
    found = {
        (*person(record.key), place(record.body.source), bucket(record.body.source))
        for _, record in commit.log
        if isinstance(record.body, MergeInto)
    }
    return sorted(found)


def _message(row: MessageRow) -> tuple[Any, ...]:
    return (
        place(row.message_id),
        *person(row.key),
        row.created_at,
        place(row.status),
        place(row.journey),
        bool(broadcast_of(row.journey)),
        row.rev,
        encode(row),
    )


def _new_messages(commit: Commit) -> Rows:
    """Of which we know that there was none."""
    return sorted(_message(row) for id, row in commit.messages.items() if commit.bases.get(id) == -1)


def _messages(commit: Commit) -> Rows:
    return sorted(_message(row) for id, row in commit.messages.items() if commit.bases.get(id) != -1)


def _ledger(commit: Commit) -> Rows:
    rows = commit.ledger.items()
    return sorted((place(address), place(topic), row.given, row.at, encode(row)) for (address, topic), row in rows)


def _members(commit: Commit) -> Rows:
    """With the number of the first row behind those who come: both lists of one part."""
    return sorted(((place(name), *person(key), since) for (name, key), since in commit.members.items()), key=_without)


def _without(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return row[:3]


def _journal(commit: Commit) -> Rows:
    return ((*person(key), row.at, encode(row)) for key, row in commit.journal)


def _emails(held: bool) -> Callable[[Commit], Rows]:
    return lambda commit: sorted((place(at), place(key)) for (at, key), on in commit.emails.items() if on is held)


def _dead_letters(commit: Commit) -> Rows:
    return sorted((place(id), letter.at, encode(letter)) for id, letter in commit.dead_letters.items())


def _plan(commit: Commit) -> Rows:
    plan = commit.plan
    return [] if plan is None else [(plan.version, plan.published_at, plan.document)]


def _meta(commit: Commit) -> Rows:
    return sorted((place(name), value) for name, value in commit.meta.items() if value is not None)


def _requests(commit: Commit) -> Rows:
    return sorted((place(id), encode(row)) for id, row in commit.requests.items() if row is not None)


def _broadcasts(commit: Commit) -> Rows:
    rows = commit.broadcasts.items()
    return sorted((place(id), row.created_at, encode(row)) for id, row in rows if row is not None)


def _gone(ids: dict[str, Any]) -> Rows:
    return sorted((place(id),) for id, row in ids.items() if row is None)


def _relay(commit: Commit) -> Rows:
    return ((one.id.encode(), one.topic.encode(), one.key, one.value) for one in commit.relay)


def _offsets(commit: Commit) -> Rows:
    return sorted((topic.encode(), partition, next) for (topic, partition), next in commit.offsets.items())


def _long_texts(commit: Commit) -> Rows:
    """What is too long to stand in a key."""
    texts: list[str] = [*commit.states, *commit.wakeups, *commit.meta]
    texts += [text for pair in [*commit.members, *commit.emails] for text in pair]
    found = {text.encode() for text in texts if len(text) > LONGEST // 4}
    return sorted((place(raw.decode()), raw) for raw in found if len(raw) > LONGEST)


# -- parts --

_UPSERT_MESSAGES = (
    "INSERT INTO messages (workspace, message_id, bucket, key, created_at, status, journey, broadcast, rev, row) "
    "SELECT 0, * FROM unnest({0}::bytea[], {1}::smallint[], {2}::bytea[], {3}::bigint[], {4}::bytea[], {5}::bytea[], "
    "{6}::boolean[], {7}::bigint[], {8}::bytea[]) WHERE true{held} ON CONFLICT (workspace, message_id) DO "
)

PARTS: Final = (
    Part(
        "states",
        "INSERT INTO states (workspace, bucket, key, blob) "
        "SELECT 0, * FROM unnest({0}::smallint[], {1}::bytea[], {2}::bytea[]) WHERE true{held} "
        "ON CONFLICT (workspace, bucket, key) DO UPDATE SET blob = excluded.blob",
        _states,
    ),
    Part(
        "gone_states",
        "DELETE FROM states s USING unnest({0}::smallint[], {1}::bytea[]) AS t (bucket, key) "
        "WHERE s.workspace = 0 AND s.bucket = t.bucket AND s.key = t.key{held}",
        _gone_states,
    ),
    Part(
        "wakeups",
        "INSERT INTO wakeups (workspace, bucket, key, deadline) "
        "SELECT 0, * FROM unnest({0}::smallint[], {1}::bytea[], {2}::bigint[]) WHERE true{held} "
        "ON CONFLICT (workspace, bucket, key) DO UPDATE SET deadline = excluded.deadline",
        _wakeups,
    ),
    Part(
        "gone_wakeups",
        "DELETE FROM wakeups w USING unnest({0}::smallint[], {1}::bytea[]) AS t (bucket, key) "
        "WHERE w.workspace = 0 AND w.bucket = t.bucket AND w.key = t.key{held}",
        _gone_wakeups,
    ),
    Part(
        "history",
        "INSERT INTO history (workspace, bucket, key, occurred_at, event_id, received_at, name, data) "
        "SELECT 0, * FROM unnest({0}::smallint[], {1}::bytea[], {2}::bigint[], {3}::bytea[], {4}::bigint[], "
        "{5}::bytea[], {6}::bytea[]) WHERE true{held} ON CONFLICT DO NOTHING",
        _history,
    ),
    Part(
        "merges",
        "INSERT INTO merges (workspace, bucket, key, source, source_bucket) "
        "SELECT 0, * FROM unnest({0}::smallint[], {1}::bytea[], {2}::bytea[], {3}::smallint[]) WHERE true{held} "
        "ON CONFLICT DO NOTHING",
        _merges,
    ),
    Part("new_messages", _UPSERT_MESSAGES + "NOTHING RETURNING 1", _new_messages, whole=True),
    Part(
        "messages",
        _UPSERT_MESSAGES + "UPDATE SET status = excluded.status, rev = excluded.rev, row = excluded.row",
        _messages,
    ),
    Part(
        "ledger",
        "INSERT INTO ledger (workspace, address, topic, given, at, row) "
        "SELECT 0, * FROM unnest({0}::bytea[], {1}::bytea[], {2}::boolean[], {3}::bigint[], {4}::bytea[]) "
        "WHERE true{held} ON CONFLICT (workspace, address, topic) "
        "DO UPDATE SET given = excluded.given, at = excluded.at, row = excluded.row",
        _ledger,
    ),
    Part(
        "members",
        "INSERT INTO members AS m (workspace, name, bucket, key, since) "
        "SELECT 0, * FROM unnest({0}::bytea[], {1}::smallint[], {2}::bytea[], {3}::bigint[]) "
        "AS t (name, bucket, key, since) WHERE since IS NOT NULL{held} "
        "ON CONFLICT (workspace, name, bucket, key) DO UPDATE SET since = excluded.since "
        "RETURNING m.name, m.bucket, (m.xmax = 0)::integer AS more), "
        "left_members AS (DELETE FROM members m "
        "USING unnest({0}::bytea[], {1}::smallint[], {2}::bytea[], {3}::bigint[]) AS t (name, bucket, key, since) "
        "WHERE t.since IS NULL AND m.workspace = 0 AND m.name = t.name AND m.bucket = t.bucket AND m.key = t.key{held} "
        "RETURNING m.name, m.bucket, -1 AS more), "
        "counted AS (INSERT INTO member_counts AS c (workspace, name, bucket, people) "
        "SELECT 0, name, bucket, sum(more) "
        "FROM (SELECT * FROM write_members UNION ALL SELECT * FROM left_members) AS moved "
        "GROUP BY name, bucket HAVING sum(more) <> 0 ORDER BY name, bucket "
        "ON CONFLICT (workspace, name, bucket) DO UPDATE SET people = c.people + excluded.people",
        _members,
    ),
    Part(
        "journal",
        "INSERT INTO journal (workspace, bucket, key, at, row) SELECT 0, bucket, key, at, row "
        "FROM unnest({0}::smallint[], {1}::bytea[], {2}::bigint[], {3}::bytea[]) WITH ORDINALITY "
        "AS t (bucket, key, at, row, turn) WHERE true{held} ORDER BY turn",
        _journal,
    ),
    Part(
        "emails",
        "INSERT INTO emails (workspace, address, key) SELECT 0, * FROM unnest({0}::bytea[], {1}::bytea[]) "
        "WHERE true{held} ON CONFLICT DO NOTHING",
        _emails(True),
    ),
    Part(
        "gone_emails",
        "DELETE FROM emails e USING unnest({0}::bytea[], {1}::bytea[]) AS t (address, key) "
        "WHERE e.workspace = 0 AND e.address = t.address AND e.key = t.key{held}",
        _emails(False),
    ),
    Part(
        "dead_letters",
        "INSERT INTO dead_letters (workspace, id, at, row) "
        "SELECT 0, * FROM unnest({0}::bytea[], {1}::bigint[], {2}::bytea[]) WHERE true{held} "
        "ON CONFLICT (workspace, id) DO UPDATE SET at = excluded.at, row = excluded.row",
        _dead_letters,
    ),
    Part(
        "plans",
        "INSERT INTO plans (workspace, version, published_at, document) "
        "SELECT 0, * FROM unnest({0}::bigint[], {1}::bigint[], {2}::bytea[]) WHERE true{held} "
        "ON CONFLICT (workspace, version) DO UPDATE SET published_at = excluded.published_at "
        "WHERE plans.document = excluded.document RETURNING 1",
        _plan,
        whole=True,
    ),
    Part(
        "meta",
        "INSERT INTO meta (workspace, name, value) SELECT 0, * FROM unnest({0}::bytea[], {1}::bytea[]) "
        "WHERE true{held} ON CONFLICT (workspace, name) DO UPDATE SET value = excluded.value",
        _meta,
    ),
    Part(
        "gone_meta",
        "DELETE FROM meta WHERE workspace = 0 AND name = ANY ({0}::bytea[]){held}",
        lambda commit: _gone(commit.meta),
    ),
    Part(
        "requests",
        "INSERT INTO requests (workspace, request_id, row) SELECT 0, * FROM unnest({0}::bytea[], {1}::bytea[]) "
        "WHERE true{held} ON CONFLICT (workspace, request_id) DO UPDATE SET row = excluded.row",
        _requests,
    ),
    Part(
        "gone_requests",
        "DELETE FROM requests WHERE workspace = 0 AND request_id = ANY ({0}::bytea[]){held}",
        lambda commit: _gone(commit.requests),
    ),
    Part(
        "broadcasts",
        "INSERT INTO broadcasts (workspace, broadcast_id, created_at, row) "
        "SELECT 0, * FROM unnest({0}::bytea[], {1}::bigint[], {2}::bytea[]) WHERE true{held} "
        "ON CONFLICT (workspace, broadcast_id) DO UPDATE SET row = excluded.row",
        _broadcasts,
    ),
    Part(
        "gone_broadcasts",
        "DELETE FROM broadcasts WHERE workspace = 0 AND broadcast_id = ANY ({0}::bytea[]){held}",
        lambda commit: _gone(commit.broadcasts),
    ),
    Part(
        "relay",
        "INSERT INTO relay (workspace, holder, id, topic, key, value) SELECT 0, {process}, id, topic, key, value "
        "FROM unnest({0}::bytea[], {1}::bytea[], {2}::bytea[], {3}::bytea[]) WITH ORDINALITY "
        "AS t (id, topic, key, value, turn) WHERE true{held} ORDER BY turn",
        _relay,
    ),
    Part(
        "offsets",
        "INSERT INTO offsets (workspace, topic, partition, next) "
        "SELECT 0, * FROM unnest({0}::bytea[], {1}::integer[], {2}::bigint[]) WHERE true{held} "
        "ON CONFLICT (workspace, topic, partition) DO UPDATE SET next = excluded.next",
        _offsets,
    ),
    Part(
        "long_texts",
        "INSERT INTO long_texts (workspace, place, whole) SELECT 0, * FROM unnest({0}::bytea[], {1}::bytea[]) "
        "WHERE true{held} ON CONFLICT DO NOTHING",
        _long_texts,
    ),
)
"""What a commit may write, in the order in which rows are locked."""
