"""The page about absences says what the tests assert, and nothing else."""

from tests.cluster.degrade.page import PAGE, figures, page
from tests.cluster.degrade.rows import ROWS


def test_the_page_is_what_the_rows_give() -> None:
    assert PAGE.read_text() == page(), "python -m tests.cluster.degrade.page"


def test_every_row_has_been_measured_and_kept_its_word() -> None:
    known = figures()
    assert set(known) == {row.name for row in ROWS}
    assert all(known[row.name].back_s <= row.back_s and known[row.name].slowest_s <= row.within_s for row in ROWS)
