"""``check`` on webhook steps."""

from pathlib import Path

from heliograph.project import check_project

from .test_broken import BASE, write_project

UNSIGNED = {"heliograph.toml": BASE["heliograph.toml"].partition("[webhooks]")[0]}

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
    write_project(tmp_path, {**UNSIGNED, "journeys/x.yaml": JOURNEY})
    found = [one for one in check_project(tmp_path, {}).findings if "HELIOGRAPH_WEBHOOKS_SECRETS" in one.message]
    assert [(one.file, one.line, one.warning) for one in found] == [("journeys/x.yaml", 7, True)]
    signed = check_project(tmp_path, {"HELIOGRAPH_WEBHOOKS_SECRETS": SECRET})
    assert not [one for one in signed.findings if "SECRETS" in one.message]


def test_a_project_without_webhooks_hears_nothing_of_secrets(tmp_path: Path) -> None:
    files = {"journeys/x.yaml": "name: x\nentry: {event: webhook}\nsteps: [{send: hello}]\n"}
    write_project(tmp_path, {**UNSIGNED, **files})
    assert not [one for one in check_project(tmp_path, {}).findings if "SECRETS" in one.message]


def template(body: str) -> dict[str, str]:
    return {
        "templates/offer/message.yaml": "subject: x\nclass: transactional\n",
        "templates/offer/body.html": f"<p>{body}</p>\n",
    }


SENDS = """name: x
entry: {api: true}
steps:
  - webhook: {url: "https://crm.example/hook", as: crm}
  - send: offer
"""


def test_a_template_may_read_what_a_webhook_of_its_journey_answers(tmp_path: Path) -> None:
    write_project(tmp_path, {"journeys/x.yaml": SENDS, **template("{{ webhook.crm.name }}")})
    assert not check_project(tmp_path, {}).errors


def test_an_answer_that_no_journey_asks_for_is_an_error_with_the_nearest_name(tmp_path: Path) -> None:
    write_project(tmp_path, {"journeys/x.yaml": SENDS, **template("\n{{ webhook.cmr.name }}")})
    (found,) = check_project(tmp_path, {}).errors
    assert (found.file, found.line, found.hint) == ("templates/offer/body.html", 2, "crm")
    assert "as: cmr" in found.message


def test_an_entry_by_api_has_an_event_whose_properties_a_schema_may_declare(tmp_path: Path) -> None:
    files = {"journeys/x.yaml": SENDS, **template("{{ event.properties.code }}")}
    write_project(tmp_path, files)
    said = [one.message for one in check_project(tmp_path, {}).findings if "event.properties" in one.message]
    assert said == ["nothing declares event.properties.code (schemas/API Entry.json could)"]
    schema = '{"properties": {"code": {"type": "string"}}}'
    write_project(tmp_path, {**files, "schemas/API Entry.json": schema})
    assert not [one for one in check_project(tmp_path, {}).findings if "event.properties" in one.message]
