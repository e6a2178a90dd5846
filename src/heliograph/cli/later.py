"""Commands of later versions: refused by name, never faked."""

from typing import NoReturn

import typer

from heliograph.cli.show import fail

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def _refuse(name: str) -> NoReturn:
    fail(f"`heliograph {name}` is not in this version", 2)


def doctor(context: typer.Context) -> None:
    """Not in this version."""
    _refuse(context.info_name or "doctor")


def bench(context: typer.Context) -> None:
    """In a source checkout: `make bench`."""
    fail("`heliograph bench` is not in this version; in a source checkout, `make bench`", 2)


COMMANDS = (doctor, bench)
