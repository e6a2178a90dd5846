"""A deployment moves house: `heliograph export`, and `import --kind deployment` where it goes."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer

from heliograph.cli.show import count, fail, say
from heliograph.ports import StoreAway, StoreFailed, StoreLocked, StoreTooNew, StreamAway, StreamRefused

KIND: Final = "deployment"
NOUNS = {
    "PlanRow": "plan",
    "LedgerRow": "ledger row",
    "BroadcastRow": "broadcast",
    "RequestRow": "open webhook",
    "DeadLetter": "dead letter",
    "MessageRow": "message",
    "Happened": "event",
    "Person": "profile",
}
"""What is told of a file, by kind of row."""


def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Written here; it holds personal data and secrets.")],
    data: Annotated[Path, typer.Option("--data", "-d", help="The data folder of a server that is stopped.")] = Path(
        "data"
    ),
) -> None:
    """All that a stopped deployment knows, in one file, to `import --kind deployment` elsewhere."""
    from heliograph.bootstrap import moving

    try:
        rows = moving.move_out(data, file)
    except StoreLocked:
        fail(f"a server runs on {data}; stop it first, what happens while it is packed would be lost")
    except (moving.NothingThere, StoreFailed, StoreTooNew) as error:
        fail(str(error))
    except OSError as error:
        fail(f"{file} cannot be written: {error.strerror or error}")
    say(f"{file}: {told(rows)}", "green")


def move_in(file: Path, project: Path) -> None:
    """Into the several machines that the project's settings name."""
    from heliograph import config
    from heliograph.bootstrap import moving, world
    from heliograph.runtime.archive import ArchiveError
    from heliograph.runtime.moving import Occupied

    settings = config.load(project)
    if not world.is_scaled(settings):
        fail(
            "--kind deployment moves into several machines, and kafka.brokers names none; a single machine is moved by "
            "copying its data folder"
        )
    try:
        rows = asyncio.run(moving.move_in(settings, file, lambda done: say(f"{done:,} rows")))
    except (ArchiveError, Occupied, StreamRefused, StoreFailed, StoreTooNew, world.CannotServe) as error:
        fail(str(error))
    except (StoreAway, StreamAway) as error:
        fail(f"interrupted: {error}; call it again, it goes on where it was")
    except OSError as error:
        fail(f"{file} cannot be read: {error.strerror or error}")
    say("all of it was there already" if rows is None else f"moved in: {told(rows)}", "green")


def told(rows: dict[str, int]) -> str:
    """What is in a file, in words."""
    return ", ".join(count(rows.get(kind, 0), noun) for kind, noun in NOUNS.items() if rows.get(kind))


COMMANDS = (export,)
