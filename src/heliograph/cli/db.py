"""`heliograph db`: the schema of PostgreSQL, for deployments on several machines."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Annotated, TypeVar

import typer

from heliograph.cli.show import fail, say
from heliograph.ports import StoreAway, StoreFailed, StoreTooNew

T = TypeVar("T")

app = typer.Typer(no_args_is_help=True, help="Bring PostgreSQL to the schema of this version, or back.")

Project = Annotated[Path, typer.Option("--project", "-p", help="The project folder, for postgres.url.")]
Url = Annotated[str | None, typer.Option("--url", help="The database, instead of postgres.url; its owner's.")]


@app.command()
def current(project: Project = Path(), url: Url = None) -> None:
    """Which schema the database has, and which this version needs."""
    migrating, schema = _tools()
    found = _told(lambda: migrating.current(_url(project, url)))
    fine = found == schema.HEAD
    say(f"schema {found or 'none'}; this version needs {schema.HEAD}", "green" if fine else "yellow")
    if not fine:
        raise typer.Exit(1)


@app.command()
def upgrade(project: Project = Path(), url: Url = None) -> None:
    """Make the tables, or bring them to what this version needs.  Nothing is lost; each step is one transaction."""
    migrating, schema = _tools()
    _told(lambda: migrating.upgrade(_url(project, url)))
    say(f"the database has schema {schema.HEAD}", "green")


@app.command()
def downgrade(
    to: Annotated[
        str, typer.Argument(metavar="SCHEMA", help="As `heliograph db current` of the older version says it.")
    ],
    project: Project = Path(),
    url: Url = None,
) -> None:
    """Back to the schema of an older version.  Stop every process first."""
    migrating, schema = _tools()
    if to not in schema.REVISIONS:
        fail(f"there is no schema {to}; known are {', '.join(schema.REVISIONS)}")
    _told(lambda: migrating.downgrade(_url(project, url), to))
    say(f"the database has schema {to}", "green")


def _tools() -> tuple[ModuleType, ModuleType]:
    try:
        from heliograph.adapters.sql import migrating, schema
    except ModuleNotFoundError as error:
        fail(f"{error.name} is not installed here; run: pip install 'heliograph[scale]'")
    return migrating, schema


def _url(project: Path, url: str | None) -> str:
    from heliograph import config

    found = url or config.load(project).postgres.url
    if not found:
        fail("no database is named; set postgres.url in heliograph.toml, HELIOGRAPH_POSTGRES_URL, or --url")
    return found


def _told(work: Callable[[], T]) -> T:
    try:
        return work()
    except (StoreAway, StoreFailed, StoreTooNew) as error:
        fail(str(error))
