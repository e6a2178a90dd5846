"""Golden outputs of ``check``: each file of ``broken/`` is a small project with mistakes and what is said about them.

A case is a text of sections: ``=== PATH`` begins a file that joins (or replaces one of) the base project below,
``=== check`` the expected output.  ``GOLDEN=write`` in the environment writes the outputs anew: read the diff.
"""

import os
import re
from pathlib import Path

import pytest

from heliograph.project import check_project

CASES = sorted((Path(__file__).parent / "broken").glob("*.txt"))
BASE = {
    "heliograph.toml": """[project]
name = "base"
[collect]
write_key = "k"
[api]
token = "t"
[smtp]
url = "smtp://127.0.0.1:1025"
[sender.default]
from = "Base <base@example.com>"
[webhooks]
secrets = ["whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"]
""",
    "policies.yaml": "topics: {offers: {consent: required}}\n",
    "segments/buyers.yaml": "name: buyers\nif: {did: {event: Order Completed}}\n",
    "templates/hello/message.yaml": "subject: Hello\n",
    "templates/hello/body.html": "<p>Hello {{ profile.id }}</p>\n<a href='{{ urls.unsubscribe }}'>Unsubscribe</a>\n",
    "journeys/welcome.yaml": "name: welcome\nentry: {event: Signed Up}\nsteps:\n  - send: hello\n",
}
CHECK = "check"


def read_case(text: str) -> dict[str, str]:
    parts = re.split(r"^=== (.+)\n", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def write_project(root: Path, files: dict[str, str]) -> None:
    for name, text in {**BASE, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_the_base_project_is_fine(tmp_path: Path) -> None:
    write_project(tmp_path, {})
    assert check_project(tmp_path, {}).findings == []


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.stem)
def test_check_says_what_is_wrong_where(case: Path, tmp_path: Path) -> None:
    sections = read_case(case.read_text())
    expected = sections.pop(CHECK, "")
    write_project(tmp_path, sections)
    report = check_project(tmp_path, {})
    said = "".join(f"{finding}\n" for finding in report.findings)
    if os.environ.get("GOLDEN") == "write":
        body = "".join(f"=== {name}\n{text}" for name, text in sections.items())
        case.write_text(f"{body}=== {CHECK}\n{said}")
        return
    assert said == expected
    assert report.ok == all(": warning: " in line for line in said.splitlines())
