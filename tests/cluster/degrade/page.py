"""``docs/reference/when-something-is-away.md``, made of the rows and of what the last run measured.

python -m tests.cluster.degrade.page        writes it; HELIOGRAPH_MEASURED=1 with the tests keeps their figures
"""

from pathlib import Path
from typing import Final

import msgspec

from tests.cluster.degrade.rows import ROWS, Row

HERE: Final = Path(__file__).parent
FIGURES: Final = HERE / "measured.json"
PAGE: Final = HERE.parents[2] / "docs" / "reference" / "when-something-is-away.md"
HEADS: Final = (
    "Part", "Events are answered", "Reads / unsubscribe", "Mail meanwhile", "What it means", "Bound", "`/readyz` tells",
    "All mailed after its return",
)  # fmt: skip

AWAY: Final = {"killed": "away", "paused": "paused", "slow": "slow"}
SOON_S: Final = 5.0
"""Mail that goes within this is not told from mail that goes at once: a machine may be busy."""


class Figure(msgspec.Struct, omit_defaults=True):
    """Of one row's last run.  ``slowest_s``: of the answers to events; ``back_s``: from the return of the part until
    everything was mailed; ``events``: acknowledged in that time; ``unknown``: of their mails; ``goes_s``: from the
    absence until what was offered in it was mailed, where that was before its return."""

    slowest_s: float
    back_s: float
    events: int
    unknown: int = 0
    goes_s: float = 0.0


def figures() -> dict[str, Figure]:
    return msgspec.json.decode(FIGURES.read_bytes(), type=dict[str, Figure]) if FIGURES.exists() else {}


def keep(name: str, figure: Figure) -> None:
    text = msgspec.json.format(msgspec.json.encode(dict(sorted((figures() | {name: figure}).items()))), indent=2)
    FIGURES.write_bytes(text + b"\n")


def page() -> str:
    measured = figures()
    lines = [_line(HEADS), _line(["---"] * len(HEADS)), *(_line(_cells(row, measured.get(row.name))) for row in ROWS)]
    head, foot = (HERE / name for name in ("head.md", "foot.md"))
    lost = sum(one.events for one in measured.values())
    counted = f"{lost} events were acknowledged while these figures were taken: lost 0, mailed twice 0"
    unknown = f"`unknown` {sum(one.unknown for one in measured.values())}"
    return f"{head.read_text()}\n{chr(10).join(lines)}\n\n{counted}, {unknown}.\n\n{foot.read_text()}"


def _line(cells: "list[str] | tuple[str, ...]") -> str:
    return f"| {' | '.join(cells)} |"


def _cells(row: Row, figure: Figure | None) -> list[str]:
    away = AWAY[row.how]
    goes = f" (after {figure.goes_s:.0f} s)" if figure and figure.goes_s >= SOON_S else ""
    slowest = f"; slowest {figure.slowest_s:.1f} s" if figure else ""
    back = f"{figure.back_s:.0f} s (asserted: {row.back_s:.0f})" if figure else f"asserted: {row.back_s:.0f} s"
    answers = ", ".join(dict.fromkeys((*row.noticing, *row.events))) if row.noticing else ", ".join(row.events)
    told = ", ".join(f"`{name}` ({role})" for role, name in row.told) or "-"
    return [
        f"**{row.title}** {away}", answers + slowest, f"{row.reads} / {row.links}", row.mail + goes, row.means,
        row.bound, told, back,
    ]  # fmt: skip


if __name__ == "__main__":
    PAGE.write_text(page())
