"""The tables of facts, as SQL: versions that only go up.

``raw_...`` is written; ``facts``, ``events``, ``messages`` and ``runs`` are read: they are views that bring together
what belongs together (FINAL), so a repeated row never counts twice, whenever somebody asks.  A step that was released
is never changed: add another one.
"""

from typing import Final

import msgspec

VERSIONS: Final = "schema_versions"
LOADS: Final = "loads"
LOADS_COLUMNS: Final = ("source", "partition", "first", "last", "received_at")
VERSIONS_COLUMNS: Final = ("version", "name")
WINDOW: Final = 10_000
"""Blocks whose tokens a table remembers: a repeated one is not even written."""

TIME: Final = "DateTime64(3, 'UTC')"
_WORD: Final = "LowCardinality(String)"
_SETTINGS: Final = f"SETTINGS non_replicated_deduplication_window = {WINDOW}"
_PUBLIC_ID: Final = (
    "multiIf(startsWith(key, 'u:'), substring(key, 3), startsWith(key, 'a:'), concat('anon:', substring(key, 3)), "
    "concat('email:', substring(key, 3)))"
)

CREATE_VERSIONS: Final = f"""
CREATE TABLE IF NOT EXISTS {VERSIONS} (version UInt32, name String, at DateTime DEFAULT now())
ENGINE = ReplacingMergeTree ORDER BY version
"""


class Step(msgspec.Struct, frozen=True):
    """Statements that bring the tables from the version before to this one; each may run again after a crash."""

    version: int
    name: str
    statements: tuple[str, ...]


def _least(kind: str) -> str:
    return f"SimpleAggregateFunction(min, Nullable({kind}))"


def _greatest(kind: str) -> str:
    return f"SimpleAggregateFunction(max, {kind})"


_FIRST_FACTS = f"""
CREATE TABLE IF NOT EXISTS raw_facts (
  workspace UInt16, at {TIME} CODEC(Delta, ZSTD(1)), kind {_WORD}, key String CODEC(ZSTD(1)), journey {_WORD},
  version {_WORD}, run_id String CODEC(ZSTD(1)), step_id {_WORD}, template {_WORD}, message_id String CODEC(ZSTD(1)),
  broadcast_id {_WORD}, arm {_WORD}, reason {_WORD}, what {_WORD}, outcome {_WORD}, machine Bool, segment {_WORD},
  value Nullable(Int64), currency {_WORD}, data String CODEC(ZSTD(1)), record_id String CODEC(ZSTD(1)),
  received_at {TIME} CODEC(Delta, ZSTD(1)), partition UInt16, position UInt64 CODEC(Delta, ZSTD(1)), id UInt64
) ENGINE = ReplacingMergeTree PARTITION BY toYYYYMM(at) ORDER BY (workspace, kind, journey, at, id) {_SETTINGS}
"""
_FIRST_EVENTS = f"""
CREATE TABLE IF NOT EXISTS raw_events (
  workspace UInt16, event_id String CODEC(ZSTD(1)), type {_WORD}, name {_WORD}, key String CODEC(ZSTD(1)),
  user_id String CODEC(ZSTD(1)), anonymous_id String CODEC(ZSTD(1)), occurred_at {TIME} CODEC(Delta, ZSTD(1)),
  received_at {TIME} CODEC(Delta, ZSTD(1)), historical Bool, value Nullable(Int64), currency {_WORD},
  properties String CODEC(ZSTD(1)), partition UInt16, position UInt64 CODEC(Delta, ZSTD(1)), rank UInt64
) ENGINE = ReplacingMergeTree(rank) PARTITION BY toYYYYMM(received_at)
ORDER BY (workspace, name, occurred_at, event_id, user_id, anonymous_id) {_SETTINGS}
"""
_MESSAGE_ENDS = (
    "decided_at", "deferred_at", "sent_at", "delivered_at", "opened_at", "clicked_at", "bounced_at", "complained_at",
    "unsubscribed_at", "skipped_at", "expired_at", "cancelled_at", "unknown_at", "missed_at", "machine_opened_at",
    "machine_clicked_at",
)  # fmt: skip
_FIRST_MESSAGES = f"""
CREATE TABLE IF NOT EXISTS raw_messages (
  workspace UInt16, message_id String CODEC(ZSTD(1)), key {_greatest("String")} CODEC(ZSTD(1)),
  journey {_greatest(_WORD)}, broadcast_id {_greatest(_WORD)}, run_id {_greatest("String")} CODEC(ZSTD(1)),
  step_id {_greatest(_WORD)}, template {_greatest(_WORD)}, caused_at {_greatest(f"Nullable({TIME})")},
  {", ".join(f"{name} {_least(TIME)}" for name in _MESSAGE_ENDS)}
) ENGINE = AggregatingMergeTree ORDER BY (workspace, message_id) {_SETTINGS}
"""
_FIRST_RUNS = f"""
CREATE TABLE IF NOT EXISTS raw_runs (
  workspace UInt16, run_id String CODEC(ZSTD(1)), key {_greatest("String")} CODEC(ZSTD(1)),
  journey {_greatest(_WORD)}, version {_greatest(_WORD)}, broadcast_id {_greatest(_WORD)}, arm {_greatest(_WORD)},
  entry_key {_greatest("String")}, cause {_greatest("String")}, trigger {_greatest(_WORD)}, caused_at {_least(TIME)},
  started_at {_least(TIME)}, ended_at {_least(TIME)}, end_reason {_greatest(_WORD)}, goal_at {_least(TIME)},
  value {_greatest("Nullable(Int64)")}, currency {_greatest(_WORD)}
) ENGINE = AggregatingMergeTree ORDER BY (workspace, run_id) {_SETTINGS}
"""
_FIRST_LOADS = f"""
CREATE TABLE IF NOT EXISTS {LOADS} (
  source String, partition UInt16, first UInt64, last UInt64, received_at {TIME},
  at {TIME} DEFAULT now64()
) ENGINE = ReplacingMergeTree(last) ORDER BY (source, partition)
"""
_STATUS = """
multiIf(complained_at IS NOT NULL, 'complained', bounced_at IS NOT NULL, 'bounced', delivered_at IS NOT NULL,
  'delivered', sent_at IS NOT NULL, 'sent', unknown_at IS NOT NULL, 'unknown', cancelled_at IS NOT NULL, 'cancelled',
  expired_at IS NOT NULL, 'expired', skipped_at IS NOT NULL, 'skipped', decided_at IS NOT NULL, 'queued', 'deferred')
"""


def _view(name: str, more: str = "") -> str:
    return (
        f"CREATE OR REPLACE VIEW {name} AS SELECT *, {_PUBLIC_ID} AS profile_id{', ' + more if more else ''} "
        f"FROM raw_{name} FINAL"
    )


STEPS: Final = (
    Step(
        1,
        "facts, events, messages, runs",
        (
            _FIRST_FACTS, _FIRST_EVENTS, _FIRST_MESSAGES, _FIRST_RUNS, _FIRST_LOADS,
            _view("facts"), _view("events"), _view("messages", f"{_STATUS} AS status"),
            _view("runs", "CAST(toString(arm) IN ('holdout', 'global_holdout'), 'Bool') AS held_out"),
        ),
    ),
)  # fmt: skip
"""By version, each one above the last."""

QUERIES: Final[dict[str, str]] = {
    "time to send": """
SELECT template, count() AS mails, quantilesExact(0.5, 0.95, 0.99)(sent_at - caused_at) AS seconds
FROM messages WHERE sent_at IS NOT NULL AND caused_at IS NOT NULL GROUP BY template ORDER BY template
""",
    "conversions": """
SELECT journey, held_out, count() AS runs, countIf(goal_at IS NOT NULL) AS converted, sum(value) / 1e6 AS value,
  quantileExactIf(0.5)(goal_at - started_at, goal_at IS NOT NULL) AS median_seconds
FROM runs WHERE broadcast_id = '' GROUP BY journey, held_out ORDER BY journey, held_out
""",
    "conversions by trigger": """
SELECT trigger, journey, count() AS runs, countIf(goal_at IS NOT NULL) AS converted
FROM runs WHERE arm != 'holdout' AND arm != 'global_holdout' GROUP BY trigger, journey ORDER BY trigger, journey
""",
    "funnel": """
SELECT journey, count() AS entered, countIf(mailed > 0) AS sent, countIf(opened > 0) AS opened,
  countIf(clicked > 0) AS clicked, countIf(goal_at IS NOT NULL) AS converted
FROM runs LEFT JOIN (
  SELECT run_id, countIf(sent_at IS NOT NULL) AS mailed, countIf(opened_at IS NOT NULL) AS opened,
    countIf(clicked_at IS NOT NULL) AS clicked
  FROM messages GROUP BY run_id
) AS mail USING run_id WHERE NOT held_out GROUP BY journey ORDER BY journey
""",
    "mail by hour": """
SELECT template, toStartOfHour(sent_at) AS hour, count() AS sent, countIf(opened_at IS NOT NULL) AS opened,
  countIf(clicked_at IS NOT NULL) AS clicked, countIf(bounced_at IS NOT NULL) AS bounced,
  countIf(machine_opened_at IS NOT NULL) AS opened_by_machines
FROM messages WHERE sent_at IS NOT NULL GROUP BY template, hour ORDER BY template, hour
""",
}
"""Questions worth asking, by name: `heliograph facts query --named NAME`."""

HOW_FAR: Final = f"""
SELECT source, partition, last AS through, toUnixTimestamp64Milli(received_at) AS received_at
FROM {LOADS} FINAL ORDER BY source, partition
"""
HOW_LARGE: Final = """
SELECT table, sum(rows) AS rows, sum(bytes_on_disk) AS bytes FROM system.parts
WHERE active AND database = currentDatabase() GROUP BY table ORDER BY table
"""
