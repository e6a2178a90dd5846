"""``check`` on names of events that are nearly those of a schema."""

from pathlib import Path

import pytest

from heliograph.project import check_project

from .test_broken import write_project

SCHEMAS = {f"schemas/{name}.json": "{}" for name in ("Order Completed", "Product Added", "Signed Up", "identify")}
JOURNEY = """name: x
entry: {{event: {entry}}}
exit: [{{event: Product Added, match: {{event: properties.a, entry: properties.b}}}}]
steps:
  - wait_until: {{any: [{{event: {resume}, then: exit}}], timeout: P1D, else: continue}}
  - send: hello
"""


def said(root: Path, entry: str = "Order Completed", resume: str = "Email Clicked", **files: str) -> list[str]:
    journey = {"journeys/x.yaml": JOURNEY.format(entry=entry, resume=resume)}
    write_project(root, {**SCHEMAS, **journey, **files})
    return [str(one) for one in check_project(root, {}).findings if "no schema" in one.message]


@pytest.mark.parametrize("entry", ["Order Complete", "Order completed", "OrderCompleted", "Orders Completed"])
def test_a_slip_is_a_warning_on_its_line_with_the_name_that_was_meant(tmp_path: Path, entry: str) -> None:
    line = f"journeys/x.yaml:2: warning: no schema is called {entry!r} (did you mean Order Completed?)"
    assert said(tmp_path, entry=entry) == [line]


def test_a_slip_in_what_a_run_waits_for_is_one_too(tmp_path: Path) -> None:
    assert len(said(tmp_path, resume="Order Complete")) == 1


@pytest.mark.parametrize("entry", ["Order Completed", "Order Cancelled", "Page Viewed", "Something Else"])
def test_names_of_their_own_are_nobodys_slip(tmp_path: Path, entry: str) -> None:
    assert said(tmp_path, entry=entry) == []


def test_where_few_events_have_schemas_their_absence_tells_nothing(tmp_path: Path) -> None:
    segment = {"segments/s.yaml": "name: s\nif: {any: [{did: {event: A}}, {did: {event: B}}, {did: {event: C}}]}\n"}
    assert said(tmp_path, entry="Order Complete", **segment) == []
