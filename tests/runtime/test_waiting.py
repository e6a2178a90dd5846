"""The queue in front of the processor: one order, bounded from outside."""

import pytest

from heliograph.ports import Busy
from heliograph.runtime.waiting import Waiting
from heliograph.runtime.work import ROW_BYTES, Swept, Touches, Work


class Piece(Work):
    name = ""

    def __init__(self, records: int = 1, size: int = 1, *, internal: bool = False) -> None:
        self.records, self.size, self.internal = records, size, internal


def test_what_comes_from_outside_is_refused_when_full_and_what_comes_from_inside_is_not() -> None:
    waiting = Waiting(max_records=2)
    waiting.put(Piece(2))
    with pytest.raises(Busy):
        waiting.put(Piece())
    waiting.put(Piece(internal=True))
    assert (len(waiting), waiting.records) == (2, 3)


def test_bytes_are_bounded_too() -> None:
    waiting = Waiting(max_bytes=10)
    waiting.put(Piece(size=10))
    with pytest.raises(Busy):
        waiting.put(Piece())


def test_a_piece_is_taken_if_it_fits_or_goes_always() -> None:
    waiting = Waiting()
    large, small = Piece(2500), Piece(1)
    waiting.put(large, small)
    assert waiting.take(2048, 100, always=False) is None
    assert waiting.take(2048, 100, always=True) is large
    assert waiting.take(0, 100, always=False) is None
    assert waiting.take(2048, 0, always=False) is None
    assert waiting.take(2048, 100, always=False) is small
    assert waiting.take(2048, 100, always=True) is None
    assert (waiting.records, waiting.size) == (0, 0)


def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    waiting = Waiting()
    first, second, third = Piece(), Piece(), Piece()
    waiting.put(third)
    waiting.put_back([first, second])
    assert waiting.take_all() == [first, second, third]


def test_urgent_work_overtakes_patient_work_and_nothing_else() -> None:
    """A word of consent that was heard before a commit point was asked for is decided before it."""
    waiting = Waiting()
    names = ["patient 1", "urgent 1", "word", "patient 2", "urgent 2", "patient 3", "urgent 3", "word 2", "urgent 4"]
    for name in names:
        piece = Piece()
        piece.name = name
        piece.patient, piece.urgent = name.startswith("patient"), name.startswith("urgent")
        waiting.put(piece)
    taken = [piece.name for piece in iter(lambda: waiting.take(9, 9, always=False), None) if isinstance(piece, Piece)]
    assert taken == [
        "urgent 1", "patient 1", "word", "urgent 2", "urgent 3", "patient 2", "patient 3", "word 2", "urgent 4",
    ]  # fmt: skip


def test_what_comes_together_goes_in_whole_or_not_at_all() -> None:
    waiting = Waiting(max_records=2)
    waiting.put(Piece(), Piece(), Piece())
    with pytest.raises(Busy):
        waiting.put(Piece(), Piece())
    assert len(waiting) == 3


def test_patient_calls_take_turns() -> None:
    waiting = Waiting()
    batch, one, other = [Piece(), Piece(), Piece()], Piece(), [Piece(), Piece()]
    for piece in (*batch, one, *other):
        piece.patient = True
    waiting.put(*batch)
    waiting.put(one)
    waiting.put(*other)
    taken = list(iter(lambda: waiting.take(9, 9, always=False), None))
    assert taken == [batch[0], one, other[0], batch[1], other[1], batch[2]]
    assert (len(waiting), waiting.records, waiting.size) == (0, 0, 0)


def test_what_a_sweep_brings_weighs_what_it_weighs() -> None:
    """Or one commit would hold the pasts of two thousand busy people."""
    bare, heavy = Swept("u:ann"), Swept("u:bob", {"leaf": [b"x" * 100_000]})
    assert Touches([bare, bare], 2, 2).size == 2 * ROW_BYTES
    assert Touches([bare, heavy], 2, 2).size >= 100_000
