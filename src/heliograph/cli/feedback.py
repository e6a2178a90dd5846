"""feedback: hand in bounces and complaints that came by mail."""

import sys
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from heliograph.cli.client import ProjectOption, ServerError, TokenOption, UrlOption, server_for
from heliograph.cli.show import complain, fail, say

TRY_AGAIN = 75
"""EX_TEMPFAIL of sysexits(3): a mail server that pipes to us keeps the mail and comes back."""


def feedback(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Mails; - or none: stdin.")] = None,
    recipient: Annotated[str, typer.Option(help="The envelope's recipient, where it is known.")] = "",
    project: ProjectOption = Path(),
    url: UrlOption = None,
    token: TokenOption = None,
) -> None:
    """Take in bounces and complaints as they came by mail; from files, or from a mail server's pipe."""
    server = server_for(project, url, token)
    path = "/feedback/mail" + ("?" + urlencode({"recipient": recipient}) if recipient else "")
    for name in files or ["-"]:
        raw = _read(name)
        try:
            said = server.post_mail(path, raw)
        except ServerError as error:
            complain(str(error))
            raise typer.Exit(1 if 400 <= error.status < 500 else TRY_AGAIN) from None
        say(_line(name, said))


def _read(name: str) -> bytes:
    if name == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(name).read_bytes()
    except OSError as error:
        fail(f"{name} cannot be read: {error.strerror}")


def _line(name: str, said: dict[str, Any]) -> str:
    parts = [said["kind"], said["message_id"] or "of no message that we know"]
    if said["suppressed"]:
        parts.append("its address is suppressed")
    if said["reason"]:
        parts.append(f"({said['reason']})")
    return "  ".join(([] if name == "-" else [f"{name}:"]) + parts)


COMMANDS = (feedback,)
