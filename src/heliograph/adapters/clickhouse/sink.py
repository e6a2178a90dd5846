"""Tables of facts in ClickHouse.

A block is planned with one small row before its rows are written.  Every insert carries a token made of the block and
its table: a table remembers the last ones, and drops what it has.  What it no longer remembers is written once more,
and the views bring it together: it does not count twice either.
"""

import threading
from collections.abc import Mapping, Sequence
from typing import Any, Final

from heliograph.adapters.clickhouse.client import Place, connect, speaking
from heliograph.measure import schema
from heliograph.measure.facts import COLUMNS
from heliograph.ports.facts import Answer, Block, FactsRefused, FactsTooNew

QUERY_S: Final = 60
QUERY_BYTES: Final = 4 * 1024**3
READ_ONLY: Final = {
    "readonly": 1, "max_execution_time": QUERY_S, "max_memory_usage": QUERY_BYTES, "result_overflow_mode": "break",
    "max_bytes_before_external_group_by": QUERY_BYTES // 2,
}  # fmt: skip
"""A query may neither write nor change these, nor hold the loader up for long."""


class ClickhouseSink:
    """A :class:`~heliograph.ports.facts.FactSink`.  Connects when it is first needed, and again after any error."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._client: Any = None
        self._asking: Any = None
        self._lock = threading.Lock()

    def _connected(self) -> Any:
        if self._client is None:
            self._client = connect(self.place)
        return self._client

    def _drop(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with speaking(self.place):
                client.close()

    # -- tables --

    def prepare(self) -> list[int]:
        with speaking(self.place):
            client = self._connected()
            client.command(schema.CREATE_VERSIONS)
            found = client.query(f"SELECT max(version) FROM {schema.VERSIONS}").result_rows[0][0]
        newest = schema.STEPS[-1].version
        if found > newest:
            raise FactsTooNew(
                f"the tables in {self.place} are of version {found}, made by a newer Heliograph (this one knows "
                f"{newest}): use that version"
            )
        wanted = [step for step in schema.STEPS if step.version > found]
        for step in wanted:
            self._take(step)
        return [step.version for step in wanted]

    def _take(self, step: schema.Step) -> None:
        with speaking(self.place):
            for statement in step.statements:
                self._client.command(statement)
            self._client.insert(schema.VERSIONS, [(step.version, step.name)], column_names=schema.VERSIONS_COLUMNS)

    # -- blocks --

    def blocks(self, source: str) -> dict[int, Block]:
        sql = (
            "SELECT source, partition, first, last, toUnixTimestamp64Milli(received_at) "
            f"FROM {schema.LOADS} FINAL WHERE source = {{source:String}}"
        )
        with speaking(self.place):
            rows = self._connected().query(sql, {"source": source}).result_rows
        return {row[1]: Block(*row) for row in rows}

    def load(self, block: Block, rows: Mapping[str, Sequence[tuple[Any, ...]]]) -> None:
        plan = (block.source, block.partition, block.first, block.last, block.received_at)
        try:
            with speaking(self.place):
                client = self._connected()
                client.insert(schema.LOADS, [plan], column_names=schema.LOADS_COLUMNS)
                for table, some in rows.items():
                    if some:
                        self._insert(client, table, some, f"{block.token}/{table}")
        except BaseException:
            self._client = None  # whatever state the connection is in
            raise

    @staticmethod
    def _insert(client: Any, table: str, rows: Sequence[tuple[Any, ...]], token: str) -> None:
        client.insert(
            table,
            list(zip(*rows, strict=True)),
            column_names=COLUMNS[table],
            column_oriented=True,
            settings={"insert_deduplication_token": token, "insert_deduplicate": 1},
        )

    # -- questions --

    def query(self, sql: str, limit: int) -> Answer:
        with self._lock, speaking(self.place):
            if self._asking is None:
                self._asking = connect(self.place)
            try:
                found = self._asking.query(sql, settings={**READ_ONLY, "max_result_rows": limit + 1})
            except Exception as error:
                self._asking = None
                if "(READONLY)" in str(error):
                    raise FactsRefused("only questions are answered here: SELECT, SHOW, DESCRIBE, EXPLAIN") from None
                raise
        if not found.column_names:
            raise FactsRefused("that is no question")
        rows = [list(row) for row in found.result_rows[: limit + 1]]
        return Answer(list(found.column_names), rows[:limit], len(rows) > limit)

    def close(self) -> None:
        for client in (self._client, self._asking):
            if client is not None:
                with speaking(self.place):
                    client.close()
        self._client = self._asking = None
