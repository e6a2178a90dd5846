"""Reading a project folder: which file says which part of the plan document (contract, section 2).

Nothing here judges journeys, conditions or templates; it finds files, reads them, and remembers the line of everything,
so that a problem with a path like ``("journeys", "cart", "steps", 2)`` can be shown where the user wrote it.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

from heliograph.decide.parsing import nearest
from heliograph.project.finding import Finding
from heliograph.project.yaml import NodePath, Yaml, read_yaml
from heliograph.render import MAX_FILES_BYTES

PLACEHOLDERS: dict[str, dict[str, Any]] = {
    "segments": {"if": {"everyone": True}},
    "journeys": {},
}
"""What stands for a segment that could not be read, so that those who refer to it are not wrong as well."""
LATER = {
    "catalogs": "catalogs",
    "transforms": "transforms of events",
    "sources": "webhook sources",
}
"""Folders of the contract that a later version reads; refused by name, never ignored."""
FOLDERS = ("journeys", "segments", "templates", "schemas", "broadcasts", *LATER)
BODIES = ("body.mjml", "body.html")
TEMPLATE_FILES = ("message.yaml", *BODIES, "body.txt")
MAX_BODY_BYTES = 1024 * 1024
MAX_ENCLOSED = 100
"""Files beside a template's own, used or not: what is read while it is checked."""


class TemplateSource(NamedTuple):
    """The files of one template.  ``kind``: mjml or html; ``files``: attachments and images, by their path there."""

    name: str
    message: dict[str, Any]
    body: bytes
    kind: str
    text: str | None
    files: dict[str, bytes]


class Folder:
    """What the files say.  ``parts``: journeys, segments, schemas and policies of the plan document, as written.
    ``broadcasts`` are no part of it: somebody sends them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.findings: list[Finding] = []
        self.parts: dict[str, Any] = {"policies": {}, "segments": {}, "journeys": {}, "schemas": {}}
        self.broadcasts: dict[str, Any] = {}
        self.templates: dict[str, TemplateSource] = {}
        self.template_names: set[str] = set()
        self.broken: set[tuple[str, str]] = set()
        self._sources: dict[tuple[str, ...], tuple[str, Yaml | None]] = {}

    def locate(self, path: NodePath) -> tuple[str, int | None]:
        """File and line of a path of the plan document."""
        parts = tuple(str(part) for part in path[:2])
        for size in (2, 1):
            if source := self._sources.get(parts[:size]):
                file, read = source
                return file, read.line(path[size:]) if read else None
        return ("heliograph.toml" if parts[:1] == ("project",) else parts[0] if parts else "."), None

    def has(self, path: NodePath) -> bool:
        """Whether a file stands behind this path."""
        return any(tuple(map(str, path[:size])) in self._sources for size in (1, 2))

    def report(self, file: str, line: int | None, message: str, hint: str = "", *, warning: bool = False) -> None:
        self.findings.append(Finding(file, line, message, hint, warning))

    def is_broken(self, path: NodePath) -> bool:
        """Whether the file behind this path was already reported as unreadable."""
        return tuple(path[:2]) in self.broken

    def yaml(self, file: Path, *key: str) -> Any:
        """Read a file as the source of ``key``; None when it says nothing usable (then it was reported)."""
        name = file.relative_to(self.root).as_posix()
        read = read_yaml(file)
        self._sources[key] = (name, read)
        for mistake in read.mistakes:
            self.report(name, mistake.line, mistake.message, warning=mistake.warning)
        return read.value

    def json(self, file: Path, *key: str) -> Any:
        """Read a JSON file likewise.  Lines are known for syntax errors only."""
        name = file.relative_to(self.root).as_posix()
        self._sources[key] = (name, None)
        try:
            return json.loads(file.read_text(encoding="utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
        except json.JSONDecodeError as error:
            self.report(name, error.lineno, f"not JSON: {error.msg}")
        except (OSError, ValueError) as error:
            self.report(name, None, f"not JSON: {error}")
        return None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise ValueError(f"the key {key} is written twice")
        result[key] = value
    return result


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is no number that JSON can say")


def read_folder(root: Path) -> Folder:
    """Read every file of a project.  Mistakes are in ``findings``."""
    folder = Folder(root)
    _look_for_strays(folder)
    for kind in ("segments", "journeys"):
        for file in _files(folder, kind, ".yaml"):
            _read_named(folder, kind, file)
    for file in _files(folder, "schemas", ".json"):
        _read_schema(folder, file)
    for file in _files(folder, "broadcasts", ".yaml"):
        if (value := folder.yaml(file, "broadcasts", name_of(file))) is not None:
            folder.broadcasts[name_of(file)] = value
    if (root / "policies.yaml").is_file():
        policies = folder.yaml(root / "policies.yaml", "policies")
        if isinstance(policies, dict):
            folder.parts["policies"] = policies
        elif policies is not None:
            folder.report("policies.yaml", 1, "must be a mapping of keys")
    for directory in _entries(root / "templates"):
        if directory.is_dir():
            _read_template(folder, directory)
        else:
            folder.report(f"templates/{directory.name}", None, "a template is a folder with message.yaml and a body")
    return folder


def _look_for_strays(folder: Folder) -> None:
    """Folders of a later version, and names one typing slip away from a known one."""
    for name, what in LATER.items():
        if any(path.is_file() for path in _entries(folder.root / name)):
            folder.report(f"{name}/", None, f"{what} are not in this version")
    for path in _entries(folder.root):
        if path.is_dir() and path.name not in FOLDERS and (hint := nearest(path.name, FOLDERS)):
            folder.report(f"{path.name}/", None, "no folder of a project has this name; it is not read", f"{hint}/",
                          warning=True)  # fmt: skip
        if path.name != "policies.yaml" and nearest(path.name, ["policies.yaml"]) and path.is_file():
            folder.report(path.name, None, "this file is not read", "policies.yaml", warning=True)


def _entries(path: Path) -> list[Path]:
    """What is in a folder, sorted, without hidden files and editors' backups."""
    if not path.is_dir():
        return []
    return sorted(one for one in path.iterdir() if not one.name.startswith(".") and not one.name.endswith("~"))


def _files(folder: Folder, kind: str, suffix: str) -> list[Path]:
    files = []
    for path in _entries(folder.root / kind):
        if path.is_file() and path.suffix == suffix:
            files.append(path)
        else:
            folder.report(f"{kind}/{path.name}", None, f"only *{suffix} files belong here", _renamed(path, suffix))
    return files


def _renamed(path: Path, suffix: str) -> str:
    return f"{path.stem}{suffix}" if path.is_file() and path.suffix in (".yml", ".YAML", ".jsn", ".JSON") else ""


def name_of(file: Path) -> str:
    """The name a file stands for: ``%2F`` is a slash."""
    return unquote(file.name.removesuffix(file.suffix))


def _read_named(folder: Folder, kind: str, file: Path) -> None:
    """A journey or segment: its ``name`` is the file's."""
    name = name_of(file)
    value = folder.yaml(file, kind, name)
    shown = file.relative_to(folder.root).as_posix()
    if value is not None and not isinstance(value, dict):
        folder.report(shown, 1, f"must be a mapping of keys, like `name: {name}`")
        value = None
    if "@" in name:
        folder.report(shown, None, "a name must not contain @")
    if value is None:
        folder.broken.add((kind, name))
        folder.parts[kind][name] = {"name": name, **PLACEHOLDERS[kind]}
        return
    if "name" in value and value["name"] != name:
        folder.report(
            shown, folder.locate((kind, name, "name"))[1], f"name is {value['name']!r}, but the file's is {name!r}"
        )
        value = {**value, "name": name}
    folder.parts[kind][name] = value


def _read_schema(folder: Folder, file: Path) -> None:
    name = name_of(file)
    schema = folder.json(file, "schemas", name)
    if isinstance(schema, dict):
        folder.parts["schemas"][name] = schema
    elif schema is not None:
        folder.report(f"schemas/{file.name}", None, "must be a JSON Schema, an object")


def _read_template(folder: Folder, directory: Path) -> None:
    name = unquote(directory.name)
    shown = f"templates/{directory.name}"
    folder.template_names.add(name)
    present = {path.name for path in _entries(directory)}
    files = _enclosed(folder, directory)
    bodies = [body for body in BODIES if body in present]
    if len(bodies) != 1:
        folder.report(
            shown, None, "has body.mjml and body.html: keep one" if bodies else "has no body.mjml or body.html"
        )
    if "message.yaml" not in present:
        folder.report(shown, None, "has no message.yaml")
        report_unused(folder, shown, files)
        return
    message = folder.yaml(directory / "message.yaml", "templates", name)
    if message is not None and not isinstance(message, dict):
        folder.report(f"{shown}/message.yaml", 1, "must be a mapping of keys, like `subject: ...`")
        message = None
    if message is None or len(bodies) != 1:
        report_unused(folder, shown, files)
        folder.broken.add(("templates", name))
        return
    body = _body(folder, directory / bodies[0])
    text = _body(folder, directory / "body.txt").decode() if "body.txt" in present else None
    folder.templates[name] = TemplateSource(name, message, body, bodies[0].rpartition(".")[2], text, files)


def report_unused(folder: Folder, shown: str, names: Iterable[str]) -> None:
    """Files in a template's folder that are nothing of it: a slip of the pen, or meant to travel with the mail."""
    for name in sorted(names):
        if hint := nearest(name, TEMPLATE_FILES):
            folder.report(f"{shown}/{name}", None, "no file of a template has this name", hint)
        else:
            said = "does not travel with the mail: neither `attachments:` nor an <img src> of the body names it"
            folder.report(f"{shown}/{name}", None, said, warning=True)


def _enclosed(folder: Folder, directory: Path) -> dict[str, bytes]:
    """What may travel with the mail: every file but those that make it.  What is too long is read to where that shows
    (:data:`heliograph.render.MAX_FILES_BYTES`); a link would bring in what is not in the project."""
    files: dict[str, bytes] = {}
    for path in _walk(directory):
        name = path.relative_to(directory).as_posix()
        shown = f"templates/{directory.name}/{name}"
        if name in TEMPLATE_FILES:
            continue
        if name.startswith("locales/"):
            folder.report(f"templates/{directory.name}/locales", None, "translations are not in this version")
        elif path.is_symlink():
            folder.report(shown, None, "is a link: put the file itself here")
        elif len(files) == MAX_ENCLOSED:
            folder.report(shown, None, f"a template's folder has at most {MAX_ENCLOSED} files beside its own")
            break
        else:
            with path.open("rb") as file:
                files[name] = file.read(MAX_FILES_BYTES + 1)
    return files


def _walk(directory: Path) -> Iterator[Path]:
    for path in _entries(directory):
        if path.is_dir() and not path.is_symlink():
            yield from _walk(path)
        else:
            yield path


def _body(folder: Folder, file: Path) -> bytes:
    shown = file.relative_to(folder.root).as_posix()
    try:
        data = file.read_bytes()
        data.decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        folder.report(shown, None, f"cannot be read: {error}")
        return b""
    if len(data) > MAX_BODY_BYTES:
        folder.report(shown, None, f"larger than {MAX_BODY_BYTES // 1024} KB")
        return b""
    return data.removeprefix(b"\xef\xbb\xbf")
