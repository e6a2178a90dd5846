"""From a project folder to settings: :func:`load` is what a server calls; :func:`inspect` finds every problem at once
and is what ``check`` calls."""

import os
import re
import tomllib
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import msgspec

from heliograph.config.environment import apply_environment
from heliograph.config.judging import judge
from heliograph.config.problems import ConfigError, Inspection, Problem
from heliograph.config.settings import DEMO_TOKEN, DEMO_WRITE_KEY, FILE, Settings


def load(
    project: Path, environ: Mapping[str, str] | None = None, *, host: str | None = None, port: int | None = None
) -> Settings:
    """The settings of a project folder; ``host`` and ``port`` come from the command line and win.

    Key files are absolute afterwards.  Raises :class:`ConfigError` with everything that is wrong, and when a demo key
    or token would be reachable from outside this machine.
    """
    found = inspect(project, environ)
    if found.settings is None:
        raise ConfigError(found.problems)
    settings = with_address(found.settings, host, port)
    refuse_public_demo(settings)
    refuse_missing_keys(settings)
    return settings


def with_address(settings: Settings, host: str | None, port: int | None) -> Settings:
    """The same settings, listening elsewhere."""
    given = {name: value for name, value in (("host", host), ("port", port)) if value is not None}
    return msgspec.structs.replace(settings, server=msgspec.structs.replace(settings.server, **given))


def refuse_public_demo(settings: Settings) -> None:
    """Everybody knows the demo's key and token: they may only be heard on loopback."""
    if is_loopback(settings.server.host):
        return
    demo = [
        key
        for key, value, known in (
            ("collect.write_key", settings.collect.write_key, DEMO_WRITE_KEY),
            ("api.token", settings.api.token, DEMO_TOKEN),
        )
        if value == known
    ]
    if demo:
        raise ConfigError(
            [
                Problem(
                    key,
                    f"{key} is still the demo's, which everybody knows: server.host must then be a loopback address, "
                    f"not {settings.server.host}; choose your own (HELIOGRAPH_{key.upper().replace('.', '_')})",
                )
                for key in demo
            ]
        )


def refuse_missing_keys(settings: Settings) -> None:
    """A server that cannot sign must not start: unsigned mail costs more reputation than a late start."""
    problems = [
        Problem(f"sender.{name}.dkim", f"the DKIM key {signer.key_file} of [sender.{name}] cannot be read")
        for name, sender in settings.sender.items()
        for signer in sender.dkim
        if not os.access(signer.key_file, os.R_OK)
    ]
    if problems:
        raise ConfigError(problems)


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def inspect(project: Path, environ: Mapping[str, str] | None = None) -> Inspection:
    """Read and judge everything; never raises for what a user wrote."""
    text, raw, problems = _read_file(project / FILE)
    if problems:
        return Inspection(None, raw, problems)
    overridden: dict[str, str] = {}
    problems += apply_environment(raw, os.environ if environ is None else environ, overridden)
    problems += [_with_variable(problem, overridden) for problem in judge(raw)]
    problems = [_with_line(problem, text) for problem in problems]
    if problems:
        return Inspection(None, raw, problems)
    settings = msgspec.convert(raw, Settings)
    return Inspection(_resolve_keys(settings, project), raw, [])


def _read_file(path: Path) -> tuple[str, dict[str, Any], list[Problem]]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return "", {}, [Problem("", f"there is no {FILE} in {path.parent}: is this a project folder?")]
    except (OSError, UnicodeDecodeError) as error:
        return "", {}, [Problem("", f"cannot be read: {error}")]
    try:
        return text, tomllib.loads(text), []
    except tomllib.TOMLDecodeError as error:
        at = re.search(r"\(at line (\d+)", str(error))
        sentence = re.sub(r" \(at .*\)$", "", str(error))
        return text, {}, [Problem("", f"not TOML: {sentence}", line=int(at[1]) if at else None)]


def _resolve_keys(settings: Settings, project: Path) -> Settings:
    """Every file by its full path."""

    def absolute(file: str) -> str:
        return str((project / file).resolve()) if file else ""

    replace = msgspec.structs.replace
    senders = {
        name: replace(sender, dkim=tuple(replace(one, key_file=absolute(one.key_file)) for one in sender.dkim))
        for name, sender in settings.sender.items()
    }
    return replace(
        settings,
        sender=senders,
        smtp=replace(settings.smtp, ca_file=absolute(settings.smtp.ca_file)),
        direct=replace(settings.direct, ca_file=absolute(settings.direct.ca_file)),
        relay={name: replace(one, ca_file=absolute(one.ca_file)) for name, one in settings.relay.items()},
    )


def _with_variable(problem: Problem, overridden: Mapping[str, str]) -> Problem:
    """A value of the environment is not to be looked for in the file."""
    variable = overridden.get(problem.key)
    if variable is None or problem.missing:
        return problem
    return problem._replace(source="environment", message=f"{variable}: {problem.message}")


def _with_line(problem: Problem, text: str) -> Problem:
    if problem.line or problem.source != FILE or not problem.key:
        return problem
    return problem._replace(line=line_of(text, problem.key))


def line_of(text: str, key: str) -> int | None:
    """The line of a dotted key in a TOML text, else of its table (a scan: tomllib keeps no positions)."""
    table, best = "", None
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\[?([^\]]+)\]", line):
            table = re.sub(r"[\s\"']", "", header[1])
            name = table
        elif pair := re.match(r"\s*([A-Za-z0-9_.\"'-]+)\s*=", line):
            name = f"{table}.{pair[1].strip(chr(34))}".lstrip(".")
        else:
            continue
        if name == key:
            return number
        if key.startswith(name + "."):
            best = number
    return best
