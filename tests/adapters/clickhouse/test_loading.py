"""What is in the tables is what was decided, however often a loader dies."""

import asyncio
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph.adapters.clickhouse import ClickhouseSink, QueryDesk, ask
from heliograph.adapters.memory import MemoryBroker, MemoryStream
from heliograph.adapters.rocksdb import RocksView
from heliograph.bootstrap.facts import Job
from heliograph.decide.decided import Decided, encode_decided
from heliograph.decide.effects import Fact
from heliograph.events.ids import bucket
from heliograph.events.partitions import partition_key
from heliograph.ports import Post
from heliograph.ports.facts import FactsAway, FactsRefused
from heliograph.ports.stream import EFFECTS
from heliograph.runtime import fact_sources, loading
from heliograph.runtime.fact_sources import TopicSource, facts_of
from tests.adapters.clickhouse.kit import HUGE, VIEWS, journal, load, recorded, source, tables
from tests.clickhouse_servers import in_this_process

pytest.importorskip("clickhouse_connect")
pytest.importorskip("chdb")


@pytest.mark.parametrize("seed", range(3))
def test_every_fact_of_every_journal_is_found_at_its_record_and_none_twice(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However the log is cut into helpings."""
    monkeypatch.setattr(fact_sources, "PAGE", 2)
    folder, chance = recorded(tmp_path / "data", seed), random.Random(seed)
    view, found, after = RocksView(folder), [], 0
    while logged := view.log(after, chance.randrange(1, 30)):
        keys = {position: record.key for position, record in logged}
        for position, facts in facts_of(view, logged).items():
            found += [(position, keys[position], fact.at, fact.kind, fact.data) for fact in facts]
        after = logged[-1][0]
    view.close()
    expected = journal(folder)
    assert len(expected) > 100
    assert sorted(found, key=lambda row: row[0]) == expected, f"seed {seed}"


def test_the_tables_hold_what_the_journals_say_and_the_queries_count_it(tmp_path: Path) -> None:
    folder, sink = recorded(tmp_path / "data", 3), ClickhouseSink(in_this_process(str(tmp_path)))
    load(sink, source(folder))
    said = journal(folder)
    rows = sink.query("SELECT position, key, toUnixTimestamp64Milli(at), kind, journey FROM facts", HUGE).rows
    assert sorted(rows) == sorted([p, k, at, kind, data.get("journey", "")] for p, k, at, kind, data in said)

    def ids(fact: str, name: str, **which: Any) -> set[str]:
        return {d[name] for _, _, _, k, d in said if k == fact and all(d.get(n) == v for n, v in which.items())}

    found = {
        row[0]: row[1:]
        for row in sink.query(
            "SELECT journey, count(), countIf(goal_at IS NOT NULL) FROM runs GROUP BY journey", HUGE
        ).rows
    }
    for name, (runs, converted) in found.items():
        assert runs == len(ids("run_started", "run_id", journey=name))
        assert converted == len(ids("goal", "run_id", journey=name))
    for kind in ("sent", "opened", "clicked", "bounced"):
        counted = sink.query(f"SELECT count() FROM messages WHERE {kind}_at IS NOT NULL", 1).rows[0][0]
        assert counted == len(ids("message_outcome", "message_id", kind=kind)) > 0
    with contextlib.closing(RocksView(folder)) as view:
        mails = [row for row in view.messages(limit=HUGE)[0] if row.sent_at]
    waits = sorted((row.sent_at - row.cause_received_at) for row in mails)
    sql = "SELECT toUnixTimestamp64Milli(sent_at) - toUnixTimestamp64Milli(caused_at) AS w FROM messages"
    assert waits == [row[0] for row in sink.query(f"{sql} WHERE sent_at IS NOT NULL ORDER BY w", HUGE).rows]
    sink.close()


def test_a_topic_and_a_log_give_the_same_tables_though_the_brain_repeats_itself(tmp_path: Path) -> None:
    folder = recorded(tmp_path / "data", 5)
    sink = ClickhouseSink(in_this_process(str(tmp_path)))
    load(sink, source(folder))
    expected = tables(sink)
    for table in ("raw_facts", "raw_events", "raw_messages", "raw_runs", "loads"):
        sink._connected().command(f"TRUNCATE TABLE {table}")
    values = _decisions(folder)
    stream = MemoryStream(MemoryBroker(4))
    again = values[len(values) // 2 :]  # restored from a checkpoint, it says the second half once more
    asyncio.run(_append(stream, values + again))
    load(sink, TopicSource(stream, "t.effects"))
    assert tables(sink) == expected
    assert {b.last + 1 for b in sink.blocks("t.effects").values()} == {
        len(entries) for entries in stream.broker.topics[EFFECTS]
    }
    sink.close()


def test_what_the_topic_keeps_no_longer_is_passed_over_and_the_rest_is_loaded(tmp_path: Path) -> None:
    values = _decisions(recorded(tmp_path / "data", 5))
    sink = ClickhouseSink(in_this_process(str(tmp_path)))
    for kept, oldest in ((values[:20], 0), (values, 25)):
        stream = MemoryStream(MemoryBroker(1))
        asyncio.run(_append(stream, kept))
        stream.broker.oldest[EFFECTS, 0] = oldest
        load(sink, TopicSource(stream, "t.effects"))
    assert sink.blocks("t.effects")[0].last + 1 == len(values) > 25
    sink.close()


def _decisions(folder: Path) -> list[Post]:
    """What a brain would have said about the log in ``folder``."""
    with contextlib.closing(RocksView(folder)) as view:
        logged = view.log(0, HUGE)
        facts = facts_of(view, logged)
    return [
        Post(EFFECTS, partition_key(bucket(record.key)), encode_decided(Decided(record, _told(facts, at), None, None)))
        for at, record in logged
    ]


def _told(facts: dict[int, list[Fact]], at: int) -> list[Any]:
    return facts.get(at, [])


async def _append(stream: MemoryStream, posts: list[Post]) -> None:
    await stream.appender().append(posts)


class Flaky:
    """A sink that is away now and then, also in the middle of a block."""

    def __init__(self, sink: ClickhouseSink, chance: random.Random) -> None:
        self._sink, self._chance = sink, chance
        self.failed = 0

    def load(self, block: Any, rows: Any) -> None:
        if self._chance.random() < 0.5:
            self.failed += 1
            some = {table: rows[table] for table in list(rows)[: self._chance.randrange(len(rows))]}
            self._sink.load(block, some)
            raise FactsAway("away") if self._chance.random() < 0.7 else FactsRefused("no")
        self._sink.load(block, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sink, name)


def test_what_was_away_is_waited_for_and_nothing_is_lost_or_counted_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "FIRST_RETRY_S", 0.001)
    monkeypatch.setattr(loading, "LONGEST_RETRY_S", 0.002)
    monkeypatch.setattr(loading, "BLOCK_RECORDS", 17)
    folder, sink = recorded(tmp_path / "data", 6), ClickhouseSink(in_this_process(str(tmp_path)))
    flaky = Flaky(sink, random.Random(6))
    assert load(flaky, source(folder)) > 5
    assert flaky.failed > 3
    assert sink.query("SELECT count() FROM facts", 1).rows == [[len(journal(folder))]]
    sink.close()


LOADING = """
import asyncio, sys
from pathlib import Path
from heliograph.runtime import loading
loading.BLOCK_RECORDS = int(sys.argv[3])
from tests.adapters.clickhouse.kit import load, sink_in, source
sink = sink_in(Path(sys.argv[2]))
print("open", flush=True)
load(sink, source(Path(sys.argv[1])))
print("done", flush=True)
"""


@pytest.mark.slow
def test_kill_9_at_any_moment_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    seed = int.from_bytes(os.urandom(4))
    chance = random.Random(seed)
    folder, facts = recorded(tmp_path / "data", 7), tmp_path / "facts"
    kills = 0
    for attempt in range(30):
        with subprocess.Popen(
            [sys.executable, "-c", LOADING, str(folder), str(facts), str(chance.choice((3, 8, 20)))],
            stdout=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            assert process.stdout is not None and process.stdout.readline() == "open\n"
            if attempt < 12:
                time.sleep(chance.random() * 0.5)
                process.send_signal(signal.SIGKILL)
            done = process.stdout.readline() == "done\n"
        if done:
            break
        kills += 1
    assert kills >= 5
    check = (
        "import json, sys; from pathlib import Path; from tests.adapters.clickhouse.kit import sink_in\n"
        "s = sink_in(Path(sys.argv[1])); count = lambda t: s.query('SELECT count() FROM ' + t, 1).rows[0][0]\n"
        "print(json.dumps([count(t) for t in sys.argv[2:]])); s.close()"
    )
    words = subprocess.run(
        [sys.executable, "-c", check, str(facts), *VIEWS, "raw_facts"], check=True, capture_output=True, text=True
    ).stdout
    *found, raw = json.loads(words)
    said = journal(folder)
    assert found[0] == len(said), f"seed {seed}"
    assert raw == len(said), "tokens keep a repeated block from being written"
    assert found[3] == len({data["run_id"] for *_, kind, data in said if kind in ("run_started", "goal")})


def test_who_holds_the_folder_answers_for_it(tmp_path: Path) -> None:
    place = in_this_process(str(tmp_path))
    assert place.path is not None
    folder = place.path
    assert ask(folder, "SELECT 1", 10) is None
    sink = ClickhouseSink(place)
    sink.prepare()
    desk = QueryDesk(sink, folder)
    answer = ask(folder, "SELECT toInt8(1) AS one, toDecimal64(1.5, 2) AS d, now() AS n, [1, 2] AS l, NULL AS z", 10)
    assert answer is not None and answer.columns == ["one", "d", "n", "l", "z"]
    assert answer.rows[0][:2] == [1, "1.50"] and answer.rows[0][3:] == [[1, 2], None]
    with pytest.raises(FactsRefused, match="only questions"):
        ask(folder, "DROP TABLE raw_facts", 10)
    desk.close()
    assert ask(folder, "SELECT 1", 10) is None
    sink.close()


def test_the_process_beside_a_server_loads_tells_and_ends_with_it(tmp_path: Path) -> None:
    from heliograph.bootstrap import link_keys
    from tests.backtest.kit import World
    from tests.backtest.test_law import afternoon

    world = World(tmp_path / "data", None, 8)
    link_keys(world.store)
    afternoon(world, 10)
    job = Job(f"chdb://{tmp_path}/facts", str(tmp_path / "data"))
    with subprocess.Popen(
        [sys.executable, "-m", "heliograph.bootstrap.facts"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(msgspec.json.encode(job) + b"\n")
        process.stdin.flush()
        loaded = 0
        while loaded < world.store.last_position():
            loaded += json.loads(process.stdout.readline())["records"]
        afternoon(world, 10)  # the owner goes on beside it
        while loaded < world.store.last_position():
            loaded += json.loads(process.stdout.readline())["records"]
        answer = ask(tmp_path / "facts", "SELECT count() FROM facts", 1)
        world.close()
        assert answer is not None and answer.rows == [[len(journal(tmp_path / "data"))]]
        process.stdin.close()
        assert process.wait(20) == 0
    shutil.rmtree(tmp_path / "facts")


def test_nobody_but_the_loader_imports_the_engine() -> None:
    seen = (
        "import sys, heliograph.bootstrap, heliograph.cli, heliograph.bootstrap.facts, heliograph.adapters.clickhouse\n"
        "sys.exit(any(name.split('.')[0] in ('chdb', 'clickhouse_connect', 'pandas', 'numpy') for name in sys.modules))"
    )
    subprocess.run([sys.executable, "-c", seen], check=True)
