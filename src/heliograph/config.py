"""Settings of one server: ``heliograph.toml``, overridden from outside by ``HELIOGRAPH_…`` (contract, section 2).

The structs below are the whole vocabulary: the reader, the environment variables, the near-miss hints and the published
JSON Schema all follow from their fields.  :func:`load` is what a server calls; :func:`inspect` finds every problem at
once and is what ``check`` calls.
"""

import json
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import msgspec

from heliograph.decide.parsing import nearest
from heliograph.decide.times import is_zone, zone_names
from heliograph.deliver.webhooks import read_secret

FILE = "heliograph.toml"
PREFIX = "HELIOGRAPH_"
DEMO_WRITE_KEY = "demo-write-key"
DEMO_TOKEN = "demo-token"
OTHER_VARIABLES = frozenset({"HELIOGRAPH_URL", "HELIOGRAPH_LOG_LEVEL"})
"""Variables that are no keys of the file: the server a command talks to, and how much is logged."""
KUBERNETES = re.compile(r"HELIOGRAPH_(SERVICE_(HOST|PORT\w*)|PORT(_\w+)?)")
"""What a cluster injects into every container beside a Service named ``heliograph``: not ours, not a mistake."""
NOT_SHARED = frozenset({"collect.write_key", "api.token", "smtp.url"})
"""Keys that belong in the environment rather than in git: ``check`` only warns when they are missing."""


class DkimSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    domain: str
    selector: str
    key_file: str


class SenderSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"from_": "from"}):
    from_: str
    reply_to: str | None = None
    postal_address: str = ""
    dkim: tuple[DkimSetting, ...] = ()


class ProjectSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    timezone: str = "UTC"
    base_url: str = "http://127.0.0.1:8080"
    time_scale: float = 1


class ServerSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    host: str = "127.0.0.1"
    port: int = 8080


class CollectSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    write_key: str
    rate_limit: str = "2000/s"


class ApiSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    token: str


class SmtpSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``mailers``: processes that render, sign and send; ``connections``: of each to the relay."""

    url: str
    mailers: int = 1
    connections: int = 10


class WebhooksSetting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """``secrets``: ``whsec_...`` (Standard Webhooks); every request carries a signature for each."""

    secrets: tuple[str, ...] = ()


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    project: ProjectSetting
    collect: CollectSetting
    api: ApiSetting
    smtp: SmtpSetting
    sender: dict[str, SenderSetting]
    server: ServerSetting = ServerSetting()
    webhooks: WebhooksSetting = WebhooksSetting()


SECTIONS: dict[str, type[msgspec.Struct]] = {
    "project": ProjectSetting,
    "server": ServerSetting,
    "collect": CollectSetting,
    "api": ApiSetting,
    "smtp": SmtpSetting,
    "webhooks": WebhooksSetting,
}
"""Plain sections; ``sender.NAME`` is the only one with a name of its own."""


class Problem(NamedTuple):
    """``key``: dotted, as in ``smtp.url``.  ``source``: the variable or the file that set it.  ``missing``: it was
    not set at all."""

    key: str
    message: str
    hint: str = ""
    source: str = FILE
    line: int | None = None
    missing: bool = False

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line else self.source
        return f"{place}: {self.message}" + (f" (did you mean {self.hint}?)" if self.hint else "")


class ConfigError(Exception):
    """These settings cannot start a server: fix what ``problems`` names."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Inspection(NamedTuple):
    """``settings`` is None when something needed is missing or wrong; ``raw`` is what could be read."""

    settings: Settings | None
    raw: dict[str, Any]
    problems: list[Problem]


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
    server = ServerSetting(
        host=settings.server.host if host is None else host, port=settings.server.port if port is None else port
    )
    return msgspec.structs.replace(settings, server=server)


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
    problems += _apply_environment(raw, os.environ if environ is None else environ, overridden)
    problems += [_with_variable(problem, overridden) for problem in _judge(raw)]
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


# -- the environment --


def _apply_environment(raw: dict[str, Any], environ: Mapping[str, str], overridden: dict[str, str]) -> list[Problem]:
    """Write every ``HELIOGRAPH_…`` over the file's value; ``overridden`` tells afterwards which key came from where."""
    problems: list[Problem] = []
    known = _known_variables(raw)
    for variable, text in sorted(environ.items()):
        if not variable.startswith(PREFIX) or variable in OTHER_VARIABLES or KUBERNETES.fullmatch(variable):
            continue
        path = _path_of(variable, raw) or _path_of(variable.removesuffix("_FILE"), raw)
        if path is None:
            if hint := nearest(variable.removeprefix(PREFIX), known):
                said = f"{variable} names no key"
                problems.append(Problem(variable, said, PREFIX + hint, source="environment"))
            continue
        if _path_of(variable, raw) is None:
            if variable.removesuffix("_FILE") in environ:
                problems.append(Problem(variable, f"{variable} and its plain form are both set", source="environment"))
                continue
            try:
                text = Path(text).read_text(encoding="utf-8").strip()
            except (OSError, UnicodeDecodeError) as error:
                why = error.strerror if isinstance(error, OSError) else error
                problems.append(Problem(variable, f"{variable}: cannot read {text}: {why}", source="environment"))
                continue
        problems += _put(raw, path, text, variable)
        overridden[".".join(path)] = variable
    return problems


def _known_variables(raw: dict[str, Any]) -> list[str]:
    """Without the prefix."""
    names = [f"{section}_{field}".upper() for section, kind in SECTIONS.items() for field in _fields(kind)]
    senders = {"default", *_table(raw.get("sender"))}
    return names + [f"SENDER_{name}_{field}".upper() for name in senders for field in _fields(SenderSetting)]


def _path_of(variable: str, raw: dict[str, Any]) -> tuple[str, ...] | None:
    section, _, rest = variable.removeprefix(PREFIX).lower().partition("_")
    if section in SECTIONS:
        return (section, rest) if rest in _fields(SECTIONS[section]) else None
    if section != "sender":
        return None
    for field in _fields(SenderSetting):
        if name := rest.removesuffix("_" + field) if rest.endswith("_" + field) else "":
            written = {one.lower().replace("-", "_"): one for one in _table(raw.get("sender"))}
            return ("sender", written.get(name, name), field)
    return None


def _put(raw: dict[str, Any], path: tuple[str, ...], text: str, variable: str) -> list[Problem]:
    kind = _fields(SenderSetting if path[0] == "sender" else SECTIONS[path[0]])[path[-1]].type
    value: Any = text
    try:
        if kind is int:
            value = int(text)
        elif kind is float:
            value = float(text)
        elif kind == _TEXTS and not text.lstrip().startswith("["):
            value = text.split()
        elif kind is not str and kind != str | None:
            value = json.loads(text)
    except ValueError:
        want = {int: "a whole number", float: "a number"}.get(kind, "a list in JSON")
        return [Problem(variable, f"{variable} must be {want}{_shown(path[-1], text)}", source="environment")]
    table = raw
    for step in path[:-1]:
        table = table.setdefault(step, {})
        if not isinstance(table, dict):
            return []  # the file's own mistake, reported by _judge
    table[path[-1]] = value
    return []


# -- judging --


def _judge(raw: dict[str, Any]) -> list[Problem]:
    problems = _unknown(raw, [*SECTIONS, "sender"], "")
    for section, kind in SECTIONS.items():
        problems += _judge_table(raw.get(section, {}), kind, section)
    senders = raw.get("sender")
    if senders is None:
        problems.append(Problem("sender.default", "[sender.default] is missing: who is the mail from?", missing=True))
    elif not isinstance(senders, dict):
        problems.append(Problem("sender", "sender must be a table of senders, like [sender.default]"))
    else:
        for name, sender in senders.items():
            problems += _judge_table(sender, SenderSetting, f"sender.{name}")
    return problems + _judge_values(raw)


def _judge_table(table: Any, kind: type[msgspec.Struct], prefix: str) -> list[Problem]:
    """Unknown, missing and wrongly typed keys of one table."""
    if not isinstance(table, dict):
        return [Problem(prefix, f"{prefix} must be a table")]
    fields = _fields(kind)
    problems = _unknown(table, fields, prefix)
    for name, field in fields.items():
        key = f"{prefix}.{name}"
        if name not in table:
            if field.required:
                elsewhere = "" if kind is DkimSetting else f"; set it here or as {variable_of(key)}"
                problems.append(Problem(key, f"{key} is missing{elsewhere}", missing=True))
            continue
        if name == "dkim":
            problems += _judge_dkim(table[name], key)
            continue
        try:
            msgspec.convert(table[name], field.type)
        except msgspec.ValidationError:
            said = f"{key} must be {_WANT.get(field.type, 'text')}{_shown(name, table[name])}"
            problems.append(Problem(key, said))
    return problems


_TEXTS: Any = tuple[str, ...]
_WANT: dict[Any, str] = {int: "a whole number", float: "a number", str: "text", _TEXTS: "a list of texts"}


def _shown(name: str, value: Any) -> str:
    """What stands there now, unless it may be a secret."""
    return "" if name == "secrets" else f", not {value!r}"


def _judge_dkim(value: Any, key: str) -> list[Problem]:
    if not isinstance(value, list):
        return [Problem(key, f"{key} must be a list of {{ domain, selector, key_file }}")]
    return [problem for one in value for problem in _judge_table(one, DkimSetting, key)]


def _unknown(table: dict[str, Any], known: Iterable[str], prefix: str) -> list[Problem]:
    words = list(known)
    return [
        Problem(f"{prefix}.{key}" if prefix else key, f"unknown key {key}" + (f" in [{prefix}]" if prefix else ""),
                nearest(key, words))
        for key in table
        if key not in words
    ]  # fmt: skip


def _judge_values(raw: dict[str, Any]) -> list[Problem]:
    """What types cannot say.  Each rule sees only values of the right type."""
    problems = []
    for (section, name), rule in _RULES.items():
        value = _table(raw.get(section)).get(name)
        fields = _fields(SECTIONS[section])
        if _is(value, fields[name].type) and (said := rule(value)):
            problems.append(Problem(f"{section}.{name}", f"{section}.{name} {said}"))
    for name, sender in _table(raw.get("sender")).items():
        value = _table(sender).get("from")
        if isinstance(value, str) and not _FROM.fullmatch(value.strip()):
            said = f"sender.{name}.from must be an address, or `Name <address>`, not {value!r}"
            problems.append(Problem(f"sender.{name}.from", said))
    return problems


def _is(value: Any, kind: Any) -> bool:
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError:
        return False
    return True


_FROM = re.compile(r"(?:[^<>\r\n\x00]*<)?[^<>@\s\x00]+@[^<>@\s\x00]+\.?[^<>@\s\x00]*>?")
_RATE = re.compile(r"[1-9][0-9]*/(s|m|h)")


def _rule_timezone(value: str) -> str:
    if is_zone(value):
        return ""
    hint = nearest(value, zone_names())
    return f"must be a zone of the IANA database like {hint or 'Europe/London'}, not {value!r}"


def _rule_base_url(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        return f"must be like https://mail.example, not {value!r}"
    if len(value) > MAX_BASE_URL:
        return f"must have at most {MAX_BASE_URL} characters, not {len(value)}"
    return ""


MAX_BASE_URL = 200
"""Links in headers and text begin with it, and a line of mail holds 998 octets (RFC 5322, 2.1.1)."""


def _rule_smtp(value: str) -> str:
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  raises when it is no number
    except ValueError as error:
        return f"cannot be read: {error}"
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        return "must be like smtp://user:password@host:587?starttls=required (or smtps://), special characters as %xx"
    query = parse_qs(parts.query, keep_blank_values=True)
    for key in query:
        if key != "starttls":
            return f"knows only ?starttls=, not {key}"
    mode = query.get("starttls", ["optional"])[-1]
    return "" if mode in ("required", "optional", "off") else f"starttls must be required, optional or off, not {mode}"


def _rule_secrets(values: list[str]) -> str:
    try:
        for value in values:
            read_secret(value)
    except ValueError as error:
        return f"has one that is none: {error}"
    return ""


_RULES: dict[tuple[str, str], Callable[[Any], str]] = {
    ("project", "timezone"): _rule_timezone,
    ("project", "base_url"): _rule_base_url,
    ("project", "time_scale"): lambda v: "" if 0 < v < float("inf") else f"must be above 0, not {v}",
    ("project", "name"): lambda v: "" if v.strip() else "must not be empty",
    ("server", "port"): lambda v: "" if 0 <= v <= 65535 else f"must be between 0 and 65535, not {v}",
    ("collect", "write_key"): lambda v: "" if v.strip() else "must not be empty",
    ("collect", "rate_limit"): lambda v: "" if _RATE.fullmatch(v) else f"must be like 2000/s (or /m, /h), not {v!r}",
    ("api", "token"): lambda v: "" if v.strip() else "must not be empty",
    ("smtp", "url"): _rule_smtp,
    ("smtp", "mailers"): lambda v: "" if 1 <= v <= 64 else f"must be between 1 and 64, not {v}",
    ("webhooks", "secrets"): _rule_secrets,
    ("smtp", "connections"): lambda v: "" if 1 <= v <= 1000 else f"must be between 1 and 1000, not {v}",
}


def variable_of(key: str) -> str:
    """The environment variable of a dotted key."""
    return PREFIX + re.sub(r"[.\-]", "_", key).upper()


def _fields(kind: type[msgspec.Struct]) -> dict[str, msgspec.structs.FieldInfo]:
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _resolve_keys(settings: Settings, project: Path) -> Settings:
    senders = {
        name: msgspec.structs.replace(
            sender,
            dkim=tuple(
                msgspec.structs.replace(one, key_file=str((project / one.key_file).resolve())) for one in sender.dkim
            ),
        )
        for name, sender in settings.sender.items()
    }
    return msgspec.structs.replace(settings, sender=senders)


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
