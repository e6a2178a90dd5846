"""What many processes share (:class:`~heliograph.ports.SharedStore`): the way out to the log, claims, who leads.

Leases run by the clock of the database.  An entry that leaves for the log belongs to the process that committed it, as
long as that process keeps asking for its entries (:data:`RELAY_MS`); then whoever asks takes it over.  So entries of
one process leave in the order in which it committed them, nobody publishes what another is publishing, and no lock is
held meanwhile.
"""

from collections.abc import Sequence
from typing import Final

from heliograph.adapters.sql.parts import person
from heliograph.adapters.sql.spell import place
from heliograph.adapters.sql.store import PostgresRows
from heliograph.ports import Claim, Relayed
from heliograph.ports.stream import EFFECTS

RELAY_MS: Final = 5_000
"""So long may a process not ask for its entries before others publish them: as long as its lead of that job lasts."""

_RELAYED: Final = """
    WITH me AS (
        UPDATE processes SET publishing_until = now_ms() + $3::bigint, seen_at = now_ms()
        WHERE workspace = 0 AND process = $1
    ), dead AS MATERIALIZED (
        SELECT process FROM processes WHERE workspace = 0 AND process <> $1 AND publishing_until < now_ms()
    ), taken AS (
        UPDATE relay SET holder = $1 WHERE workspace = 0 AND number IN (
            SELECT r.number FROM dead, LATERAL (
                SELECT number FROM relay WHERE workspace = 0 AND holder = dead.process
                ORDER BY number LIMIT $2 FOR UPDATE SKIP LOCKED) AS r)
        RETURNING number, id, topic, key, value
    )
    SELECT * FROM (
        (SELECT number, id, topic, key, value FROM relay WHERE workspace = 0 AND holder = $1 ORDER BY number LIMIT $2)
        UNION ALL SELECT * FROM taken
    ) AS mine ORDER BY number LIMIT $2
"""

_HAS_EVENT: Final = """
    WITH RECURSIVE known (bucket, key) AS (
        SELECT $1::smallint, $2::bytea
        UNION SELECT m.source_bucket, m.source FROM known k
            JOIN merges m ON m.workspace = 0 AND m.bucket = k.bucket AND m.key = k.key
    )
    SELECT EXISTS (SELECT 1 FROM known k
        JOIN history h ON h.workspace = 0 AND h.bucket = k.bucket AND h.key = k.key AND h.event_id = $3)
"""

_CLAIMS: Final = """
    SELECT c.partition, c.owner, c.epoch, c.lease_until, coalesce(o.next, -1) FROM claims c
    LEFT JOIN offsets o ON o.workspace = 0 AND o.topic = $1 AND o.partition = c.partition
    WHERE c.workspace = 0 ORDER BY c.partition
"""
_CLAIM: Final = """
    WITH ended AS MATERIALIZED (
        SELECT partition, lease_until FROM claims WHERE workspace = 0 AND partition = ANY ($3::integer[])
        ORDER BY partition FOR UPDATE
    )
    INSERT INTO claims AS c (workspace, partition, owner, epoch, lease_until)
    SELECT 0, partition, $1, 1, now_ms() + $2::bigint FROM unnest($3::integer[]) AS t (partition)
    WHERE (SELECT count(*) FROM ended) >= 0 ORDER BY partition
    ON CONFLICT (workspace, partition)
    DO UPDATE SET owner = excluded.owner, epoch = c.epoch + 1, lease_until = excluded.lease_until
    RETURNING partition, epoch, lease_until, coalesce((
        SELECT greatest(ended.lease_until - (c.lease_until - $2), 0) FROM ended WHERE ended.partition = c.partition), 0)
"""
"""``ended``: no commit is under way under the old claims any more; they hold these rows ``FOR KEY SHARE``."""
_OFFSETS: Final = (
    "SELECT partition, next FROM offsets WHERE workspace = 0 AND topic = $1 AND partition = ANY ($2::integer[])"
)
_MINE: Final = """
    WITH mine AS MATERIALIZED (
        SELECT c.partition FROM claims c JOIN unnest($2::integer[], $3::bigint[]) AS t (partition, epoch)
        USING (partition, epoch) WHERE c.workspace = 0 AND c.owner = $1 ORDER BY c.partition FOR NO KEY UPDATE OF c
    )
"""
_RENEW: Final = (
    _MINE
    + """, renewed AS (
        UPDATE claims SET lease_until = now_ms() + $4::bigint WHERE workspace = 0
        AND partition IN (SELECT partition FROM mine) AND (SELECT count(*) FROM mine) = cardinality($2::integer[])
    )
    SELECT (SELECT count(*) FROM mine) = cardinality($2::integer[])
"""
)
_RELEASE: Final = (
    _MINE
    + "UPDATE claims SET owner = '', lease_until = 0 WHERE workspace = 0 AND partition IN (SELECT partition FROM mine)"
)
_LEAD: Final = """
    INSERT INTO leads AS l (workspace, job, owner, lease_until) VALUES (0, $1, $2, now_ms() + $3::bigint)
    ON CONFLICT (workspace, job) DO UPDATE SET owner = excluded.owner, lease_until = excluded.lease_until
    WHERE l.owner = excluded.owner OR l.lease_until <= now_ms() RETURNING 1
"""


class PostgresStore(PostgresRows):
    """A :class:`~heliograph.ports.SharedStore`; how it is opened says :class:`PostgresRows`."""

    def has_event(self, key: str, event_id: str) -> bool:
        row = self._db.row(_HAS_EVENT, *person(key), place(event_id))
        return bool(row and row[0])

    # -- the outbox towards the log --

    def relayed(self, limit: int) -> list[tuple[int, Relayed]]:
        rows = self._db.rows(_RELAYED, self._committer.process, limit, RELAY_MS)
        return [(row[0], Relayed(row[1].decode(), row[2].decode(), row[3], row[4])) for row in rows]

    def forget_relayed(self, numbers: Sequence[int]) -> None:
        if numbers:
            self._db.rows("DELETE FROM relay WHERE workspace = 0 AND number = ANY ($1::bigint[])", sorted(numbers))

    # -- claims --

    def claim(self, owner: str, partitions: Sequence[int], lease_ms: int) -> list[Claim]:
        """Waits for the commits that are under way in these partitions, then asks how far they came."""
        wanted = sorted(set(partitions))
        taken = self._db.rows(_CLAIM, owner.encode(), lease_ms, wanted)
        next = {row[0]: row[1] for row in self._db.rows(_OFFSETS, EFFECTS.encode(), wanted)}
        return [
            Claim(at, owner, epoch, until, next.get(at, -1), former_ms)
            for at, epoch, until, former_ms in sorted(map(tuple, taken))
        ]

    def renew(self, owner: str, epochs: dict[int, int], lease_ms: int) -> bool:
        row = self._db.row(_RENEW, owner.encode(), list(epochs), list(epochs.values()), lease_ms)
        return bool(row and row[0])

    def release(self, owner: str, epochs: dict[int, int]) -> None:
        self._db.rows(_RELEASE, owner.encode(), list(epochs), list(epochs.values()))

    def claims(self) -> list[Claim]:
        rows = self._db.rows(_CLAIMS, EFFECTS.encode())
        return [Claim(row[0], row[1].decode(), row[2], row[3], row[4]) for row in rows]

    def lead(self, owner: str, job: str, lease_ms: int) -> bool:
        return self._db.row(_LEAD, job.encode(), owner.encode(), lease_ms) is not None
