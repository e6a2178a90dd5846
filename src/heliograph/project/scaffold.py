"""``heliograph init``: a small project that passes ``check`` and explains every key."""

import re
import secrets
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path

EDITOR_FOLDER = ".heliograph"
"""Where a project keeps the JSON Schemas of its files, for completion in editors."""
HARMLESS = frozenset({".git", ".DS_Store"})
"""What a folder may hold and still count as empty."""


class FolderNotEmpty(Exception):
    """There is something in this folder: choose another one, or empty it."""


def init_project(root: Path) -> list[Path]:
    """Write the starter project into an empty or new folder; the files it wrote.  Raises :class:`FolderNotEmpty`, or
    :class:`OSError` when the folder cannot be written."""
    if root.exists() and (not root.is_dir() or {entry.name for entry in root.iterdir()} - HARMLESS):
        raise FolderNotEmpty(str(root))
    words = {"@NAME@": name_for(root), "@WRITE_KEY@": secrets.token_hex(12), "@TOKEN@": secrets.token_urlsafe(24)}
    package = files("heliograph.project")
    written = _copy(package / "starter", root, words)
    return written + _copy(package / "schemas", root / EDITOR_FOLDER, {})


def name_for(root: Path) -> str:
    """A project name made from the folder's."""
    return re.sub(r"[^A-Za-z0-9]+", "-", root.resolve().name).strip("-").lower() or "project"


def _copy(source: Traversable, target: Path, words: dict[str, str]) -> list[Path]:
    target.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    for entry in sorted(source.iterdir(), key=lambda one: one.name):
        if entry.is_dir():
            written += _copy(entry, target / entry.name, words)
            continue
        text = entry.read_text(encoding="utf-8")
        for word, value in words.items():
            text = text.replace(word, value)
        # A file called .gitignore inside the package would hide its neighbours from our own git.
        path = target / (".gitignore" if entry.name == "gitignore" else entry.name)
        path.write_text(text, encoding="utf-8")
        written.append(path)
    return written
