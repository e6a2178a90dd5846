"""What the tutorial tells people to write is true."""

import re
import shlex
from pathlib import Path
from typing import Any

import typer

from heliograph.project import check_project, init_project

DOCS = Path(__file__).parents[2] / "docs"
TUTORIAL = (DOCS / "tutorial.md").read_text()


def files() -> dict[str, str]:
    """Path -> text of the files that the tutorial shows, in order."""
    shown = re.findall(r"`my-shop/([^`]+\.\w+)`[^`]*?```\w*\n(.*?)```", TUTORIAL, re.DOTALL)
    return dict(shown)


def test_every_stage_of_the_tutorial_checks_as_it_says(tmp_path: Path) -> None:
    init_project(tmp_path / "my-shop")
    stages = []
    for name, text in files().items():
        path = tmp_path / "my-shop" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        stages.append([str(finding) for finding in check_project(tmp_path / "my-shop", {}).findings])
    assert list(files()) == [
        "segments/lookers.yaml",
        "journeys/still-looking.yaml",
        "templates/still-looking/message.yaml",
        "templates/still-looking/body.html",
        "schemas/Product Viewed.json",
    ]
    assert stages[0] == []
    assert stages[1] == ["journeys/still-looking.yaml:7: there is no template 'still-looking'"]
    assert stages[1][0] in TUTORIAL
    assert len(stages[3]) == 1
    assert "warning: nothing declares" in stages[3][0]
    assert stages[4] == []


def test_the_reference_links_to_pages_that_exist() -> None:
    for page in [DOCS / "tutorial.md", *(DOCS / "reference").glob("*.md")]:
        for target in re.findall(r"\]\(([\w./-]+\.md)\)", page.read_text()):
            assert (page.parent / target).is_file(), f"{page.name} -> {target}"


def test_every_command_and_setting_is_documented() -> None:
    from heliograph import config
    from heliograph.cli.app import app

    commands = (DOCS / "reference" / "commands.md").read_text()
    group = typer.main.get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert re.search(rf"`(heliograph )?{name}\b", commands), name
        for word in getattr(command, "commands", {}):
            assert re.search(rf"\b{word}\b", commands), (name, word)
    page = (DOCS / "reference" / "project.md").read_text()
    for section, kind in config.SECTIONS.items():
        for key in kind.__struct_fields__:
            assert f"`{section}.{key}`" in page
    for section, kind in config.NAMED.items():
        for key in kind.__struct_encode_fields__:
            assert re.search(rf"`({section}\.NAME\.)?{key}`", page), (section, key)


def written_commands() -> list[str]:
    """Every `heliograph ...` line that README, the tutorial and the how-to pages tell people to type."""
    pages = [(DOCS / "how-to" / f"{name}.md").read_text() for name in ("send-a-broadcast", "when-delivery-goes-wrong")]
    text = "\n".join([(DOCS.parent / "README.md").read_text(), TUTORIAL, *pages]).replace("\\\n", " ")
    lines = re.findall(r"^(?: {4}(?:\$ )?|\.venv/bin/)(heliograph [^\n#]+)", text, re.MULTILINE)
    return [*lines, *re.findall(r"`(heliograph apply [^`]+)`", text)]


def test_every_written_command_is_one_that_the_command_line_takes() -> None:
    from heliograph.cli.app import app

    group = typer.main.get_command(app)
    commands = written_commands()
    assert len(commands) > 12
    for line in commands:
        command: Any = group
        _, *words = shlex.split(line.replace("ID ...", "ID").replace(" ... ", " "))
        while words and words[0] in getattr(command, "commands", ()):
            command, words = command.commands[words[0]], words[1:]
        command.make_context(command.name, words)


def test_every_call_of_the_api_is_documented() -> None:
    import heliograph.console as console

    page = (DOCS / "reference" / "api.md").read_text()
    routes = re.findall(r'@(?:get|post|put|delete)\("(/[^"]*)"', "".join(
        path.read_text() for path in Path(console.__file__).parent.glob("*.py") if path.name != "pages.py"
    ))  # fmt: skip
    assert len(routes) > 12
    for route in routes:
        last = re.sub(r"\{[^}]*\}", "", route).rstrip("/").rpartition("/")[2]
        assert last in page, route
