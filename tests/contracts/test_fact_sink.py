"""Laws of the tables of facts, on every way to a ClickHouse engine that can be had here."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from heliograph.adapters.clickhouse import ClickhouseSink, Place, place_of
from heliograph.decide.effects import Fact
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Outcome, Record
from heliograph.measure import schema
from heliograph.measure.facts import COLUMNS, EVENTS, FACTS, MESSAGES, RUNS, Told, rows_of
from heliograph.ports.facts import Block, FactsAway, FactSink, FactsRefused, FactsTooNew
from tests.clickhouse_servers import ChdbServer, in_this_process
from tests.ports import free_port

pytest.importorskip("clickhouse_connect")
pytest.importorskip("chdb")
T0 = 1_750_000_000_000
HUGE = 1_000_000


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Place]]:
    """In this process, and over HTTP."""
    with ChdbServer(tmp_path_factory.mktemp("server")) as server:
        yield {"chdb": in_this_process(""), "http": place_of(server.url)}


@pytest.fixture(params=["chdb", "http"])
def sink(places: dict[str, Place], request: pytest.FixtureRequest) -> Iterator[ClickhouseSink]:
    """A database of the test's own."""
    own = in_this_process(request.node.nodeid).database
    sink = ClickhouseSink(replace(places[request.param], database=own))
    sink.prepare()
    yield sink
    sink.close()


def told(position: int, key: str = "u:ann") -> Told:
    """A view that starts a run, mails, and is converted; then the outcome of the mail."""
    at, run, message = T0 + position * 1000, f"run-{position // 2}", f"message-{position // 2}"
    names = {"journey": "cart", "run_id": run}
    mail = {**names, "message_id": message, "step_id": "first", "template": "reminder"}
    if position % 2:
        body = Outcome(message, "sent", at, "", False, {})
        record = Record(key, f"o-{position}", at, 1, body)
        return Told(position, record, [Fact("message_outcome", at, {**mail, "kind": "sent", "reason": ""})])
    event = Event(f"e-{position}", "track", "Product Added", at, "ann", None, properties={"total": 9.99})
    facts = [
        Fact("run_started", at, {**names, "version": "v1", "entry_key": "", "cause": "c", "arm": "treated"}),
        Fact("message_decided", at, mail),
        Fact("goal", at, {**names, "value": 9.99, "held_out": False}),
    ]
    return Told(position, Record(key, event.event_id, at, 1, EventBody(event)), facts)


def block(some: list[Told], source: str = "here", partition: int = 0) -> Block:
    return Block(source, partition, some[0].position, some[-1].position, some[-1].record.received_at)


def load(sink: FactSink, some: list[Told]) -> None:
    sink.load(block(some), rows_of(0, some))


def tables(sink: FactSink) -> dict[str, list[list[Any]]]:
    return {
        name: sink.query(f"SELECT * FROM {name} ORDER BY ALL", HUGE).rows
        for name in ("facts", "events", "messages", "runs")
    }


def written(sink: FactSink) -> int:
    return sum(int(sink.query(f"SELECT count() FROM {table}", 1).rows[0][0]) for table in COLUMNS)


def test_columns_of_rows_are_those_of_the_tables(sink: FactSink) -> None:
    for table, columns in COLUMNS.items():
        assert [row[0] for row in sink.query(f"DESCRIBE {table}", HUGE).rows] == list(columns)


def test_steps_are_taken_once_and_tables_of_a_newer_version_are_left_alone(sink: ClickhouseSink) -> None:
    assert sink.prepare() == []
    client = sink._connected()
    client.insert(schema.VERSIONS, [(schema.STEPS[-1].version + 1, "later")], column_names=schema.VERSIONS_COLUMNS)
    with pytest.raises(FactsTooNew, match="newer"):
        sink.prepare()


def test_a_step_that_was_cut_short_is_taken_again(sink: ClickhouseSink) -> None:
    load(sink, [told(n) for n in range(10)])
    before = tables(sink)
    sink._connected().command(f"TRUNCATE TABLE {schema.VERSIONS}")
    assert sink.prepare() == [step.version for step in schema.STEPS]
    assert tables(sink) == before


def test_a_block_that_is_repeated_is_not_even_written(sink: FactSink) -> None:
    some = [told(n) for n in range(20)]
    load(sink, some)
    before, rows = tables(sink), written(sink)
    load(sink, some)
    assert (tables(sink), written(sink)) == (before, rows)


def test_the_last_planned_block_of_each_partition_is_known(sink: FactSink) -> None:
    assert sink.blocks("here") == {}
    first, second, other = [told(0), told(1)], [told(2)], [told(7)]
    for some, partition in ((first, 0), (second, 0), (other, 3)):
        sink.load(block(some, partition=partition), rows_of(partition, some))
    sink.load(block([told(99)], "elsewhere"), {})
    assert sink.blocks("here") == {0: block(second), 3: block(other, partition=3)}


@pytest.mark.parametrize("seed", range(3))
def test_however_a_log_is_cut_repeated_and_shuffled_the_tables_say_the_same(sink: ClickhouseSink, seed: int) -> None:
    chance, log = random.Random(seed), [told(n) for n in range(60)]
    load(sink, log)
    expected = tables(sink)
    assert [len(expected[name]) for name in ("facts", "events", "messages", "runs")] == [120, 30, 30, 30]
    for _ in range(12):
        start = chance.randrange(60)
        load(sink, log[start : start + chance.randrange(1, 20)])
        assert tables(sink) == expected, f"seed {seed}"
    for table in (FACTS, EVENTS, MESSAGES, RUNS):
        sink._connected().command(f"OPTIMIZE TABLE {table} FINAL")
    assert tables(sink) == expected


def test_what_was_decided_again_at_a_later_place_counts_once(sink: FactSink) -> None:
    load(sink, [told(n) for n in range(10)])
    load(sink, [Told(100 + n, told(n).record, told(n).facts) for n in range(10)])
    counts = {name: len(rows) for name, rows in tables(sink).items()}
    assert counts == {"facts": 20, "events": 5, "messages": 5, "runs": 5}


QUESTIONS_THAT_CHANGE = (
    "INSERT INTO raw_facts (kind) VALUES ('x')", "DROP TABLE raw_facts", "TRUNCATE TABLE raw_facts",
    "CREATE TABLE x (a Int8) ENGINE = Memory", "SELECT 1 SETTINGS readonly = 0", "SET readonly = 0",
    "SELECT * FROM file('/etc/passwd', 'LineAsString')", "SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')",
    "SELECT 1 INTO OUTFILE '/tmp/x'", "SELECT 1; DROP TABLE raw_facts", "SELEC 1",
)  # fmt: skip


def test_a_question_can_change_nothing_and_reaches_nothing_else(sink: FactSink) -> None:
    load(sink, [told(0)])
    for sql in QUESTIONS_THAT_CHANGE:
        with pytest.raises((FactsRefused, FactsAway)):
            sink.query(sql, 10)
        assert sink.query("SELECT count() FROM facts", 1).rows == [[3]], sql


def test_an_answer_has_at_most_so_many_rows_and_says_when_there_were_more(sink: FactSink) -> None:
    assert sink.query("SELECT number FROM numbers(3)", 3).cut is False
    found = sink.query("SELECT number FROM numbers(1000000)", 3)
    assert (found.columns, found.rows, found.cut) == (["number"], [[0], [1], [2]], True)


def test_named_queries_answer(sink: FactSink) -> None:
    load(sink, [told(n) for n in range(10)])
    for name, sql in schema.QUERIES.items():
        assert sink.query(sql, 10).rows, name


def test_a_server_that_is_away_is_waited_for_and_found_again(tmp_path: Path) -> None:
    port = free_port()
    sink = ClickhouseSink(place_of(f"http://127.0.0.1:{port}/facts"))
    with pytest.raises(FactsAway):
        sink.prepare()
    for round in range(2):
        with ChdbServer(tmp_path, port):
            assert sink.prepare() == ([1] if round == 0 else [])
            load(sink, [told(0)])
            assert len(tables(sink)["facts"]) == 3
        with pytest.raises(FactsAway):
            load(sink, [told(1)])
    sink.close()


@pytest.mark.parametrize(
    ("url", "wrong"),
    [("chdb://relative", "absolute"), ("chdb:///", "absolute"), ("postgres://x", "https"), ("http://", "https")],
)
def test_a_wrong_url_is_told(url: str, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        place_of(url)
