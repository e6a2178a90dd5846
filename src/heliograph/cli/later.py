"""Commands of later versions: refused by name, never faked."""

from typing import NoReturn

from heliograph.cli.show import fail

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def bench() -> NoReturn:
    """In a source checkout: `make bench`."""
    fail("`heliograph bench` is not in this version; in a source checkout, `make bench`", 2)


COMMANDS = (bench,)
