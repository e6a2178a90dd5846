"""``heliograph``: its commands, in the order in which people meet them."""

import sys
from typing import Annotated

import typer

from heliograph import __version__
from heliograph.cli import (
    broadcast,
    broadcasts,
    db,
    delivery,
    doctor,
    facts,
    feedback,
    flink,
    gap,
    holding,
    later,
    local,
    mail,
    messages,
    moving,
    people,
    publish,
    suppressions,
    trials,
)
from heliograph.cli.client import ServerError
from heliograph.cli.show import fail
from heliograph.config import ConfigError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Real-time, event-triggered, personalised email campaigns, self-hosted.",
)
for group in (local, publish, trials, people, mail, broadcast, holding, delivery, feedback, moving, doctor, gap, later):
    for command in group.COMMANDS:
        name = command.__name__.removesuffix("_").replace("_", "-")
        settings = later.SETTINGS if group is later else None
        app.command(name, hidden=group is later, context_settings=settings)(command)

app.add_typer(broadcasts.app, name="broadcasts")
app.add_typer(db.app, name="db")
app.add_typer(facts.app, name="facts")
app.add_typer(flink.app, name="flink")
app.add_typer(messages.app, name="messages")
app.add_typer(suppressions.app, name="suppressions")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"heliograph {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """What stands before any command."""


def main() -> None:
    """Run one command.  What the user can mend is one sentence on stderr and exit code 1, never a traceback."""
    try:
        app(prog_name="heliograph")
    except (ServerError, ConfigError) as error:
        fail(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output went away; Python would complain about it at exit
        sys.exit(0)
