"""Rows follow from records alone."""

from typing import Any

import pytest

from heliograph.decide.effects import Fact
from heliograph.events.event import Event
from heliograph.events.record import EventBody, Outcome, Record, Wake
from heliograph.measure import schema
from heliograph.measure.facts import COLUMNS, EVENTS, FACTS, MESSAGES, RUNS, Told, amount, rows_of

AT = 1_750_000_000_000
ABOUT = {"message_id": "m", "journey": "cart", "run_id": "r", "step_id": "s", "template": "t"}


def event(event_id: str = "e", **properties: Any) -> EventBody:
    return EventBody(Event(event_id, "track", "Order Completed", AT, "ann", None, properties=properties))


def rows(body: Any, *facts: Fact, position: int = 1, key: str = "u:ann") -> dict[str, list[dict[str, Any]]]:
    found = rows_of(0, [Told(position, Record(key, "id", AT, 1, body), list(facts))])
    return {table: [dict(zip(COLUMNS[table], row, strict=True)) for row in some] for table, some in found.items()}


def test_a_fact_decided_again_elsewhere_has_the_same_id_and_two_facts_of_one_record_have_two() -> None:
    twice = (Fact("cut", AT, {"what": "x"}), Fact("cut", AT, {"what": "x"}))
    first, second = rows(Wake(), *twice)[FACTS]
    again = rows(Wake(), *twice, position=99)[FACTS]
    assert first["id"] != second["id"]
    assert [first["id"], second["id"]] == [row["id"] for row in again]


def test_what_the_runtime_says_does_not_number_what_the_brain_says() -> None:
    late, cut = Fact("cancel_too_late", AT, {"message_id": "m"}), Fact("cut", AT, {})
    with_it, without = rows(Wake(), late, cut)[FACTS], rows(Wake(), cut)[FACTS]
    assert with_it[1] == without[0]


@pytest.mark.parametrize(("machine", "column"), [(False, "opened_at"), (True, "machine_opened_at")])
def test_machines_have_columns_of_their_own(machine: bool, column: str) -> None:
    data = {**ABOUT, "kind": "opened", "reason": "", **({"machine": True} if machine else {})}
    (row,) = rows(Outcome("m", "opened", AT - 5, machine=machine), Fact("message_outcome", AT, data))[MESSAGES]
    assert {name for name, value in row.items() if name.endswith("_at") and value is not None} == {column}
    assert row[column] == AT - 5, "when it happened, not when it was decided on"


def test_a_goal_is_worth_what_it_says_in_the_currency_of_its_event() -> None:
    goal = Fact("goal", AT, {"journey": "cart", "run_id": "r", "value": "19.99", "held_out": False})
    found = rows(event(total=5, currency="eur"), goal)
    assert (found[RUNS][0]["value"], found[RUNS][0]["currency"]) == (19_990_000, "EUR")
    assert (found[FACTS][0]["value"], found[EVENTS][0]["value"]) == (19_990_000, 5_000_000)


@pytest.mark.parametrize(
    ("value", "micro"),
    [(19.99, 19_990_000), ("19.99", 19_990_000), (True, None), ("x", None), (None, None), ("nan", None), ("inf", None),
     (1e30, None), ([1], None)],
)  # fmt: skip
def test_amounts_are_exact_or_none(value: Any, micro: int | None) -> None:
    assert amount(value) == micro


def test_of_one_event_the_last_key_and_then_the_first_receipt_ranks_highest() -> None:
    def rank(hops: int, received_at: int) -> int:
        body = EventBody(event().event, hops=hops)
        return int(rows_of(0, [Told(1, Record("u:a", "id", received_at, 1, body), [])])[EVENTS][0][-1])

    assert rank(1, AT + 9) > rank(0, AT) > rank(0, AT + 1)


def test_facts_of_unusual_data_become_rows_all_the_same() -> None:
    odd = Fact("run_step", AT, {"journey": None, "run_id": 7, "reason": ["a"], "until": 1.5, "by": {"x": "\u2028"}})
    (row,) = rows(Wake(), odd)[FACTS]
    assert (row["journey"], row["run_id"], row["reason"]) == ("", "7", "['a']")


def test_steps_ascend_and_every_written_table_has_its_columns() -> None:
    versions = [step.version for step in schema.STEPS]
    assert versions == sorted(set(versions))
    created = " ".join(" ".join(step.statements) for step in schema.STEPS)
    for table, columns in COLUMNS.items():
        assert f"EXISTS {table} (" in created
        assert all(f"{name} " in created for name in columns)
