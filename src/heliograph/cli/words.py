"""Commands that have words of their own: `heliograph suppressions remove ...`."""

import typer

from heliograph.cli.show import fail


def listing(context: typer.Context) -> bool:
    """Whether the command stands alone.  Options of a word stand behind it: in front they would say nothing."""
    if context.invoked_subcommand is None:
        return True
    if given := [name for name in context.params if _typed(context, name)]:
        command, word = context.command_path, context.invoked_subcommand
        fail(f"write options behind the word: `{command} {word} ... --{given[0].removeprefix('as_')}`", 2)
    return False


def _typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
