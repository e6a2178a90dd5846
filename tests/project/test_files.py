"""Files in a template's folder: read, bounded, and part of the plan."""

import base64
from pathlib import Path

from heliograph.project import check, check_project
from heliograph.project.folder import MAX_ENCLOSED
from heliograph.render import MAX_FILES_BYTES

from .test_broken import write_project

MESSAGE = "templates/hello/message.yaml"


def findings(root: Path) -> list[str]:
    return [str(finding) for finding in check_project(root, {}).findings]


def test_files_become_part_of_the_plan(tmp_path: Path) -> None:
    body = "<img src='art/logo.png'><a href='{{ urls.unsubscribe }}'>Unsubscribe</a>"
    write_project(tmp_path, {MESSAGE: "subject: Hello\nattachments: [terms.txt]\n", "templates/hello/body.html": body})
    folder = tmp_path / "templates" / "hello"
    (folder / "terms.txt").write_text("Terms.")
    (folder / "art").mkdir()
    (folder / "art" / "logo.png").write_bytes(b"\x89PNG" * 100)
    report = check_project(tmp_path, {})
    assert report.findings == []
    template = report.document["templates"]["hello"]
    assert base64.b64decode(template["attachments"][0]["data"]) == b"Terms."
    assert base64.b64decode(template["images"][0]["data"]) == b"\x89PNG" * 100


def test_a_file_that_is_too_long_is_told_where_it_is_asked_for(tmp_path: Path) -> None:
    write_project(tmp_path, {MESSAGE: "subject: Hello\nattachments:\n  - big.pdf\n"})
    with (tmp_path / "templates" / "hello" / "big.pdf").open("wb") as file:
        file.truncate(50 * MAX_FILES_BYTES)
    (found,) = findings(tmp_path)
    assert found.startswith(
        f"{MESSAGE}:3: attachments[0]: with 'big.pdf' the files of this template have more than 2 MB"
    )


def test_a_link_out_of_the_project_is_not_followed(tmp_path: Path) -> None:
    write_project(tmp_path, {MESSAGE: "subject: Hello\nattachments: [secret.txt]\n"})
    (tmp_path / "templates" / "hello" / "secret.txt").symlink_to("/etc/hostname")
    assert "templates/hello/secret.txt: is a link: put the file itself here" in findings(tmp_path)


def test_files_of_a_folder_and_of_a_plan_are_bounded(tmp_path: Path, monkeypatch) -> None:
    write_project(tmp_path, {MESSAGE: "subject: Hello\nattachments: [terms.txt]\n"})
    (tmp_path / "templates" / "hello" / "terms.txt").write_bytes(bytes(1_000))
    assert findings(tmp_path) == []
    monkeypatch.setattr(check, "MAX_ENCLOSED_BYTES", 1_000)
    (found,) = findings(tmp_path)
    assert found.startswith(f"{MESSAGE}:1: up to here the files of all templates have more than")
    for number in range(MAX_ENCLOSED):
        (tmp_path / "templates" / "hello" / f"{number}.bin").touch()
    assert any("a template's folder has at most 100 files beside its own" in found for found in findings(tmp_path))
