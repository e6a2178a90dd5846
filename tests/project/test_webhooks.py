"""``check`` on webhook steps."""

from pathlib import Path

from heliograph.project import check_project

from .test_broken import write_project

JOURNEY = """name: x
entry: {event: A}
steps:
  - branch:
      - if: {everyone: true}
        then:
          - webhook: {url: "https://crm.example/hook", method: POST, json: {id: "{{ profile.id }}"}, as: crm}
      - {else: continue}
"""
SECRET = "whsec_" + "A" * 32


def test_a_webhook_without_a_secret_is_a_warning_on_its_line(tmp_path: Path) -> None:
    write_project(tmp_path, {"journeys/x.yaml": JOURNEY})
    found = [one for one in check_project(tmp_path, {}).findings if "HELIOGRAPH_WEBHOOKS_SECRETS" in one.message]
    assert [(one.file, one.line, one.warning) for one in found] == [("journeys/x.yaml", 7, True)]
    signed = check_project(tmp_path, {"HELIOGRAPH_WEBHOOKS_SECRETS": SECRET})
    assert not [one for one in signed.findings if "SECRETS" in one.message]


def test_a_project_without_webhooks_hears_nothing_of_secrets(tmp_path: Path) -> None:
    write_project(tmp_path, {"journeys/x.yaml": "name: x\nentry: {event: webhook}\nsteps: [{send: hello}]\n"})
    assert not [one for one in check_project(tmp_path, {}).findings if "SECRETS" in one.message]
