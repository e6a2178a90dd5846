"""The report of a small fixed world, field by field.  After a change that is meant to change it:

REWRITE_GOLDEN=1 pytest tests/backtest/test_report.py
"""

import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from heliograph.backtest import part
from heliograph.backtest.concern import Concern
from tests.backtest.kit import CART, HOUR, MINUTE, PRESSURE, World, backtest, document
from tests.backtest.test_law import afternoon
from tests.replays.test_log import number_again
from tests.runtime.harness import call, identify

GOLDEN = Path(__file__).parents[1] / "golden" / "backtest-report.json"
PEOPLE = ("ann", "bob", "cyd", "dan", "eve", "fay")


def draft() -> dict[str, Any]:
    steps = [{"wait": "PT1H"}, *CART["steps"][1:3], {"split": {"arms": {"one": {"weight": 1, "then": "continue"},
             "two": {"weight": 1, "then": [{"send": "cart-third"}]}}}}]  # fmt: skip
    return {**CART, "steps": [*steps, {"send": "cart-second"}]}


def test_the_report_of_a_small_world(tmp_path: Path) -> None:
    number_again()
    world = World(tmp_path / "data", document(policies=PRESSURE), seed=7)
    for who in PEOPLE:
        world.send(identify(who, email=f"{who}@x.test"))
    for round in range(3):
        for who in PEOPLE[round:]:
            world.send(call("Product Added", who, cart_id=f"cart-{round}"))
            world.advance(7 * MINUTE)
        world.send(call("Order Completed", PEOPLE[round], total=10.25))
        world.advance(9 * HOUR)
    world.close()
    said = msgspec.json.format(backtest(tmp_path / "data", "cart", draft()).encoded()) + b"\n"
    if os.environ.get("REWRITE_GOLDEN"):
        GOLDEN.write_bytes(said)
    assert msgspec.json.decode(said) == msgspec.json.decode(GOLDEN.read_bytes())


@pytest.mark.parametrize("seed", range(3))
def test_leaving_out_whom_it_cannot_concern_changes_nothing(
    seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "data", document(policies=PRESSURE), seed)
    afternoon(world, 25)
    world.close()
    few = backtest(tmp_path / "data", "cart", draft())
    monkeypatch.setattr(part, "concern_of", lambda _plans: Concern(None))
    all_of_them = backtest(tmp_path / "data", "cart", draft())
    assert few.records <= all_of_them.records
    aside = {"top", "other_mails"}
    for name in set(few.draft.__struct_fields__) - aside:
        assert getattr(few.draft, name) == getattr(all_of_them.draft, name), name
    assert few.live is not None and all_of_them.live is not None
    assert few.live.listed == all_of_them.live.listed
    assert few.seen == all_of_them.seen
    assert few.sample == all_of_them.sample
