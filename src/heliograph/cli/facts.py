"""`heliograph facts`: load them, ask for them, see how far they are."""

import asyncio
from pathlib import Path
from typing import Annotated, Any

import typer

from heliograph import config
from heliograph.cli.show import count, fail, print_json, say, table, when
from heliograph.measure import schema
from heliograph.ports.facts import Answer, FactsAway, FactsRefused, FactsTooNew

MAX_ROWS = 1_000
"""Of an answer, unless somebody wants more."""

app = typer.Typer(no_args_is_help=True, help="Facts in ClickHouse: load, query, status.")
Project = Annotated[Path, typer.Option("--project", "-p", help="The project folder: where facts go.")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


@app.command()
def load(
    project: Project = Path(),
    data: Annotated[Path, typer.Option("--data", "-d", help="The server's folder, without Kafka.")] = Path("data"),
) -> None:
    """Load facts until stopped: from Kafka, or from the log of a server's data folder."""
    from heliograph.bootstrap import facts
    from heliograph.ports import StoreFailed, StoreTooNew
    from heliograph.runtime.logs import configure_logs

    configure_logs()
    try:
        asyncio.run(facts.load(facts.job_of(config.load(project), data), lambda _: None))
    except (FactsRefused, FactsTooNew, StoreFailed, StoreTooNew, ValueError) as error:
        fail(str(error))


@app.command()
def query(
    sql: Annotated[str, typer.Argument(metavar="SQL", help="Over facts, events, messages and runs.")] = "",
    named: Annotated[str, typer.Option("--named", help="One of: " + ", ".join(schema.QUERIES) + ".")] = "",
    project: Project = Path(),
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most so many rows.")] = MAX_ROWS,
    as_json: AsJson = False,
) -> None:
    """Ask in SQL; nothing can be changed.  60 seconds and 4 GB at most."""
    if named and named not in schema.QUERIES:
        fail(f"there is no query {named}; there are: {', '.join(schema.QUERIES)}")
    if bool(sql) == bool(named):
        fail('write one question: `heliograph facts query "SELECT ..."`, or --named NAME')
    answer = _asked(project, schema.QUERIES.get(named, sql), limit)
    if as_json:
        print_json([dict(zip(answer.columns, row, strict=True)) for row in answer.rows])
        return
    table(answer.columns, ([_cell(value) for value in row] for row in answer.rows))
    if answer.cut:
        say(f"the first {count(limit, 'row')}; there are more (--limit)")


@app.command()
def status(project: Project = Path(), as_json: AsJson = False) -> None:
    """How far each partition is loaded, and what the tables hold."""
    loads = _asked(project, schema.HOW_FAR, MAX_ROWS)
    sizes = _asked(project, schema.HOW_LARGE, MAX_ROWS)
    if as_json:
        print_json({"loads": [dict(zip(loads.columns, row, strict=True)) for row in loads.rows],
                    "tables": [dict(zip(sizes.columns, row, strict=True)) for row in sizes.rows]})  # fmt: skip
        return
    far = ([str(r[0]), str(r[1]), f"{r[2]:,}", when(r[3])] for r in loads.rows)
    table(("source", "partition", "through", "of"), far)
    table(("table", "rows", "MB"), ([str(r[0]), f"{r[1]:,}", f"{r[2] / 1e6:.1f}"] for r in sizes.rows))


def _asked(project: Path, sql: str, limit: int) -> Answer:
    """By whoever holds the database; opened here when nobody does."""
    from heliograph.adapters import clickhouse

    url = config.load(project).clickhouse.url
    if not url:
        fail("there are no facts: set clickhouse.url in heliograph.toml (chdb:///PATH or https://...)")
    try:
        place = clickhouse.place_of(url)
        if place.path is not None:
            answer = clickhouse.ask(place.path, sql, limit)
            if answer is not None:
                return answer
            if not place.path.is_dir():
                fail(f"there are no facts in {place.path} yet; a server with this setting loads them")
        sink = clickhouse.ClickhouseSink(place)
        try:
            return sink.query(sql, limit)
        finally:
            sink.close()
    except (FactsAway, FactsRefused, ValueError) as error:
        fail(str(error))


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return "  ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
