"""Every metric is in the reference, with its kind, its labels and what it says."""

import re
from pathlib import Path

from heliograph.measure.metrics import COUNTER, GAUGE, LEVELS, METRICS, TALLY

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"


def row(name: str) -> str:
    metric = METRICS[name]
    kind = {TALLY: COUNTER, LEVELS: GAUGE}.get(metric.kind, metric.kind)
    labels = ", ".join(f"`{label}`" for label in metric.labels)
    return f"| `{name}` | {kind} | {labels} | {metric.help} |"


def test_the_reference_says_what_the_code_says() -> None:
    rows = re.findall(r"^\| `heliograph_.*$", PAGE.read_text(), re.MULTILINE)
    assert rows == [row(name) for name in METRICS]


def test_units_are_in_the_names() -> None:
    for name, metric in METRICS.items():
        assert name.startswith("heliograph_")
        assert name.endswith("_total") == (metric.kind in (COUNTER, TALLY)), name
