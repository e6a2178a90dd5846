"""Check never raises, whatever somebody wrote: a valid project with junk in one place."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from heliograph.project import check_project
from heliograph.project.yaml import parse_yaml

from .test_broken import write_project
from .test_contract import BASE, JOURNEY
from .test_schemas import GOOD

WHOLE: dict[str, Any] = {
    "journeys/cart-recovery.yaml": parse_yaml(JOURNEY).value,
    "journeys/x.yaml": parse_yaml(GOOD).value,
    "segments/vip.yaml": {
        "name": "vip",
        "if": {
            "any": [
                {"trait": {"path": "vip", "is": True}},
                {"did": {"event": "A", "where": {"properties.x": {"gt": 1}}, "between": [1, 2], "within": "P1D"}},
            ]
        },
    },
    "policies.yaml": {
        "topics": {"offers": {"consent": "required"}},
        "act_within": "PT1H",
        "caps": [{"max": 3, "per": "P7D", "topics": ["offers"], "when_exceeded": "defer", "defer_for": "P2D"}],
        "quiet_hours": {"from": "21:00", "to": "08:00", "timezone": "person"},
        "arbitrate": "PT5M",
        "global_holdout": "1%",
    },
    "templates/hello/message.yaml": {"subject": "Hello {{ profile.firstName }}", "freshness": "PT6H"},
    "schemas/A.json": {"type": "object", "properties": {"x": {"type": "number"}}},
}
junk = st.sampled_from(
    [None, True, 0, -1, 1.5, 10**15, "", "x", "P1D", "-P1D", "5%", "{{", "{% if %}", [], [[]], [None], {}, {"a": {}},
     {"": ""}, "a" * 2000, "\u2028", {"all": []}, ["x"] * 300]
)  # fmt: skip


def places(node: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [path, *(found for key, value in inner for found in places(value, (*path, key)))]


@pytest.mark.parametrize("file", WHOLE)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_junk_anywhere_is_a_finding_never_a_crash(file: str, tmp_path: Path, data: st.DataObject) -> None:
    value = copy.deepcopy(WHOLE[file])
    path = data.draw(st.sampled_from(places(value)))
    replacement = data.draw(junk)
    if path:
        inner = value
        for step in path[:-1]:
            inner = inner[step]
        if data.draw(st.booleans()) and isinstance(inner, dict):
            inner[str(replacement)[:20]] = inner.pop(path[-1])
        else:
            inner[path[-1]] = replacement
    else:
        value = replacement
    write_project(tmp_path, {**BASE, **{name: json.dumps(one) for name, one in WHOLE.items()}, file: json.dumps(value)})
    for finding in check_project(tmp_path, {}).findings:
        assert (tmp_path / finding.file).exists(), finding


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(st.sampled_from('[]{}="\n.#abc project sender default 127'), max_size=60))
def test_any_toml_is_a_finding_never_a_crash(tmp_path: Path, text: str) -> None:
    write_project(tmp_path, {"heliograph.toml": text})
    assert not check_project(tmp_path, {}).ok
