"""`heliograph export`: a deployment moves house."""

from pathlib import Path
from typing import Annotated

import typer

from heliograph.cli.show import count, fail, say
from heliograph.ports import StoreFailed, StoreLocked, StoreTooNew

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


def told(rows: dict[str, int]) -> str:
    """What is in a file, in words."""
    return ", ".join(count(rows.get(kind, 0), noun) for kind, noun in NOUNS.items() if rows.get(kind))


COMMANDS = (export,)
