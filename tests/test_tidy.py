"""Rules of the house that no linter knows."""

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parent.parent / "src" / "heliograph"
PURE = ("events", "decide", "render", "deliver", "measure")
FORBIDDEN_CALLS = {
    ("datetime", "now"),
    ("datetime", "utcnow"),
    ("datetime", "today"),
    ("date", "today"),
    ("time", "time"),
    ("os", "urandom"),
    ("uuid", "uuid4"),
    ("uuid", "uuid1"),
}
FORBIDDEN_NAMES = {"open", "print", "input", "exec", "eval"}
FORBIDDEN_IMPORTS = {
    "asyncio", "concurrent", "http", "io", "logging", "multiprocessing", "os", "random", "secrets", "select", "shutil",
    "signal", "socket", "sqlite3", "ssl", "structlog", "subprocess", "sys", "tempfile", "threading", "time",
    "urllib.request", "uuid",
}  # fmt: skip

pure_files = sorted(file for package in PURE for file in (SRC / package).rglob("*.py"))


@pytest.mark.parametrize("file", pure_files, ids=lambda file: str(file.relative_to(SRC)))
def test_pure_packages_have_no_clock_no_chance_no_input_and_no_output(file: Path) -> None:
    found = []
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                found += [n.name for n in names if n.name in FORBIDDEN_IMPORTS]
            case ast.ImportFrom(module=module) if module in FORBIDDEN_IMPORTS:
                found.append(module)
            case ast.Call(func=ast.Name(id=name)) if name in FORBIDDEN_NAMES:
                found.append(f"{name}()")
            case ast.Call(func=ast.Attribute(value=ast.Name(id=owner), attr=attr)) if (owner, attr) in FORBIDDEN_CALLS:
                found.append(f"{owner}.{attr}()")
    assert not found, f"{file}: {', '.join(found)}"


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(file.relative_to(SRC))
        for file in SRC.rglob("*.py")
        if file.read_text().strip() and not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert not silent, f"no docstring at the top of {', '.join(sorted(silent))}"
