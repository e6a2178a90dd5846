"""The published JSON Schemas say what the parser says."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

import heliograph.project
from heliograph.project import check_project
from heliograph.project.scaffold import init_project
from heliograph.project.yaml import parse_yaml

from .test_broken import write_project

SCHEMAS = Path(heliograph.project.__file__).parent / "schemas"
SHOP = Path(__file__).parents[2] / "examples" / "shop"
KINDS = {
    "heliograph.toml": "heliograph",
    "policies.yaml": "policies",
    "journeys/*.yaml": "journey",
    "segments/*.yaml": "segment",
    "broadcasts/*.yaml": "broadcast",
    "templates/*/message.yaml": "message",
}


def validator(kind: str) -> jsonschema_rs.Draft202012Validator:
    registry = jsonschema_rs.Registry(
        [(f"https://x/{file.name}", json.loads(file.read_text())) for file in SCHEMAS.glob("*.json")]
    )
    return jsonschema_rs.Draft202012Validator({"$ref": f"https://x/{kind}.json"}, registry=registry)


VALIDATORS = {kind: validator(kind) for kind in KINDS.values()}


def read(file: Path) -> Any:
    text = file.read_text()
    return tomllib.loads(text) if file.suffix == ".toml" else parse_yaml(text).value


def files_of(root: Path) -> list[tuple[str, Path]]:
    return [(kind, file) for pattern, kind in KINDS.items() for file in sorted(root.glob(pattern))]


@pytest.mark.parametrize(("kind", "file"), files_of(SHOP), ids=lambda one: one.name if isinstance(one, Path) else one)
def test_the_example_fits_its_schemas(kind: str, file: Path) -> None:
    VALIDATORS[kind].validate(read(file))


def test_the_starter_fits_its_schemas_and_carries_them(tmp_path: Path) -> None:
    init_project(tmp_path / "new")
    found = files_of(tmp_path / "new")
    assert {kind for kind, _ in found} == set(KINDS.values())
    for kind, file in found:
        VALIDATORS[kind].validate(read(file))
        head = file.read_text().partition("\n")[0]
        named = re.search(r"(?:\$schema=|#:schema )(\S+)", head)
        assert named and (file.parent / named[1]).is_file(), f"{file.name} leads editors to no schema"


BAD = [
    ("journey", "name: x\nentry: {event: A}\n"),
    ("journey", "name: x\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: []\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{sendd: hello}]\n"),
    ("journey", "name: x\nentry: {event: A, segment: buyers}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A, key: order_id}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A, on_repeat: again}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {segment: buyers, key: properties.a}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A, reentry: {every: P1D}}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nholdout: 5\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nholdout: 100%\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\ngoal: {event: B}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nexit: {event: B}\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nexit: [{event: B, if: {everyone: true}}]\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait: 30 minutes}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait: {until: {time: '25:00'}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait: {until: {time: '09:00', days: [monday]}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait_until: {timeout: P1D}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{branch: [{then: exit}]}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{exit: false}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{send: hello, wait: P1D}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{send: hello, on_failure: retry}]\n"),
    ("journey", "name: x\nentry: {event: A}\non_edit: migrate\nsteps: [{send: hello}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait: {date: due, offset: 3 days}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{wait: {offset: P3D}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{window: {from: '08:00'}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{window: {from: '08:00', to: '20:00', days: []}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{split: {arms: {}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{split: {arms: {a: {weight: 0}}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{split: {arms: {a: {then: exit}}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{update: {traits: {}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{update: {traits: {email: a}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{emit: {properties: {a: 1}}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{emit: {event: '{{ profile.x }}'}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{webhook: {url: crm.example}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{webhook: {url: 'https://u:p@crm.example/'}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{webhook: {url: 'https://a.b', method: post}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{webhook: {url: 'https://a.b', as: a.b}}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{goto: 5}]\n"),
    ("journey", "name: x\nentry: {event: A}\nsteps: [{send: hello, on_failure: {goto: a, then: b}}]\n"),
    ("journey", "name: x\nentry: {schedule: 5}\nsteps: [{wait: P1D}]\n"),
    ("journey", "name: x\nentry: {schedule: FREQ=DAILY, start: tomorrow}\nsteps: [{wait: P1D}]\n"),
    ("journey", "name: x\nentry: {schedule: FREQ=DAILY, key: properties.x}\nsteps: [{wait: P1D}]\n"),
    ("journey", "name: x\nentry: {api: false}\nsteps: [{wait: P1D}]\n"),
    ("journey", "name: x\nentry: {api: true, where: {properties.x: 1}}\nsteps: [{wait: P1D}]\n"),
    ("segment", "name: x\n"),
    ("segment", "name: x\nif: {}\n"),
    ("segment", "name: x\nif: [{everyone: true}]\n"),
    ("segment", "name: x\nif: {everyone: false}\n"),
    ("segment", "name: x\nif: {all: []}\n"),
    ("segment", "name: x\nif: {everyone: true, in_topic: offers}\n"),
    ("segment", "name: x\nif: {did_sum: {event: A, property: properties.x}}\n"),
    ("segment", "name: x\nif: {did_sum: {event: A, property: total, gte: 1}}\n"),
    ("segment", "name: x\nif: {did_sum: {event: A, gte: 1}}\n"),
    ("segment", "name: x\nif: {did_avg: {event: A, property: properties.x, gte: '1'}}\n"),
    ("segment", "name: x\nif: {did_max: {event: A, property: properties.x, gte: 9000000000001}}\n"),
    ("segment", "name: x\nif: {did_distinct: {event: A, property: properties.x, gte: 2000}}\n"),
    ("segment", "name: x\nif: {did_distinct: {event: A, property: properties.x, gte: 1.5}}\n"),
    ("segment", "name: x\nif: {sequence: {events: [{event: A}]}}\n"),
    ("segment", "name: x\nif: {sequence: {events: [{event: A}, B]}}\n"),
    ("segment", "name: x\nif: {near: {lat: 91, lon: 0, radius_m: 5}}\n"),
    ("segment", "name: x\nif: {near: {lat: 1, lon: 0}}\n"),
    ("segment", "name: x\nif: {near: {geofence: harbour}}\n"),
    ("segment", "name: x\nif: {engaged: {kind: bounced}}\n"),
    ("segment", "name: x\nif: {engaged: {within: P1D}}\n"),
    ("segment", "name: x\nif: {bucket: {salt: x, below: 0.1}}\n"),
    ("segment", "name: x\nif: {bucket: {salt: x, below: 100%}}\n"),
    ("segment", "name: x\nif: {bucket: {below: 10%}}\n"),
    ("segment", "name: x\nif: {trait: {path: a}}\n"),
    ("segment", "name: x\nif: {trait: {is: 1}}\n"),
    ("segment", "name: x\nif: {trait: {path: a, equals: 1}}\n"),
    ("segment", "name: x\nif: {trait: {path: a, in: 5}}\n"),
    ("segment", "name: x\nif: {trait: {path: a, exists: 1}}\n"),
    ("segment", "name: x\nif: {did: {at_least: 2}}\n"),
    ("segment", "name: x\nif: {did: {event: A, at_least: 0}}\n"),
    ("segment", "name: x\nif: {did: {event: A, within: P1M}}\n"),
    ("segment", "name: x\nif: {did: {event: A, between: [1]}}\n"),
    ("segment", "name: x\nif: {did: {event: A, where: {total: 5}}}\n"),
    ("segment", "name: x\nif: {did: {event: A, where: {properties.total: {above: 5}}}}\n"),
    ("broadcast", "name: x\ntemplate: hello\n"),
    ("broadcast", "name: x\naudience: {everyone: true}\n"),
    ("broadcast", "template: hello\naudience: {everyone: true}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: everyone\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: false}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true, segment: buyers}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {if: {trait: {path: a}}}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {segments: buyers}\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nat: tomorrow\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nlocal_time: true\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nlocal_time: true\nat: 2026-12-01T09:00:00Z\n"),
    (
        "broadcast",
        "name: x\ntemplate: hello\naudience: {everyone: true}\nlocal_time: true\nat: 2026-12-01T09:00\nrate: 5/s\n",
    ),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nrate: 50000\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nholdout: 0.05\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nnotice: true\ntopic: offers\n"),
    ("broadcast", "name: x\ntemplate: hello\naudience: {everyone: true}\nsegment: buyers\n"),
    ("message", "preheader: x\n"),
    ("message", "subject: 5\n"),
    ("message", "subject: x\nclass: spam\n"),
    ("message", "subject: x\nfreshness: PT\n"),
    ("message", "subject: x\non_unknown: retry\n"),
    ("message", "subject: x\nfrom: y\n"),
    ("policies", "topics: [offers]\n"),
    ("policies", "topics: {offers: required}\n"),
    ("policies", "topics: {offers: {consent: maybe}}\n"),
    ("policies", "act_within: 1 hour\n"),
    ("policies", "caps: [{max: 0, per: P7D}]\n"),
    ("policies", "caps: [{per: P7D}]\n"),
    ("policies", "caps: [{max: 1, per: 7 days}]\n"),
    ("policies", "caps: [{max: 1, per: P7D, when_exceeded: wait}]\n"),
    ("policies", "caps: [{max: 1, per: P7D, when_exceeded: defer}]\n"),
    ("policies", "caps: [{max: 1, per: P7D, when_exceeded: skip, defer_for: P1D}]\n"),
    ("policies", "caps: [{max: 1, per: P7D, topics: []}]\n"),
    ("policies", 'quiet_hours: {from: "21:00"}\n'),
    ("policies", 'quiet_hours: {from: "9pm", to: "08:00"}\n'),
    ("policies", "global_holdout: 100%\n"),
    ("policies", "global_holdout: 0.1\n"),
    ("policies", "arbitrate: 5\n"),
    ("policies", "topic: {}\n"),
]
PLACES = {
    "journey": "journeys/x.yaml",
    "segment": "segments/x.yaml",
    "broadcast": "broadcasts/x.yaml",
    "message": "templates/hello/message.yaml",
    "policies": "policies.yaml",
}
TOPICS = "topics: {offers: {consent: required}}\n"


GOOD = """\
name: x
entry: {schedule: "FREQ=WEEKLY;BYDAY=MO", start: 2026-11-02, timezone: project}
on_edit: follow
steps:
  - wait: {date: renewal_at, offset: -P1M, grace: PT0S, else: {goto: ask}}
  - window: {from: "22:00", to: "06:00", days: [fri], timezone: Europe/Paris}
  - webhook: {url: "https://a.test/{{ profile.id }}?x", method: PUT, json: ["{{ profile.n }}"], as: crm, within: PT1M}
    id: ask
  - split: {arms: {a: {weight: 0.5}, b: {weight: 2, then: [{exit: true}]}}, salt: spring}
  - update: {traits: {seen: {deep: ["{{ run.entered_at }}"]}, gone: null}}
  - emit: {event: Asked}
  - goto: ask
"""


def test_all_that_a_journey_may_say_fits_its_schema(tmp_path: Path) -> None:
    VALIDATORS["journey"].validate(parse_yaml(GOOD).value)
    VALIDATORS["journey"].validate(
        {"name": "x", "entry": {"api": True, "key": "properties.a"}, "steps": [{"wait": "P1D"}]}
    )
    write_project(tmp_path, {PLACES["journey"]: GOOD})
    assert check_project(tmp_path, {}).errors == []


@pytest.mark.parametrize(("kind", "text"), BAD)
def test_what_the_schema_refuses_the_parser_refuses(kind: str, text: str, tmp_path: Path) -> None:
    assert not VALIDATORS[kind].is_valid(parse_yaml(text).value)
    write_project(tmp_path, {PLACES[kind]: text})
    report = check_project(tmp_path, {})
    assert not report.ok
    assert {finding.file for finding in report.errors} == {PLACES[kind]}
