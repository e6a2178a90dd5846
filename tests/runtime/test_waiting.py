"""The queue in front of the processor: one order, bounded from outside."""

import pytest

from heliograph.ports import Busy
from heliograph.runtime.waiting import Waiting
from heliograph.runtime.work import Work


class Piece(Work):
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


def test_a_take_respects_the_room_but_always_gives_the_first_piece() -> None:
    waiting = Waiting()
    large, small = Piece(2500), Piece(1)
    waiting.put(large)
    waiting.put(small)
    assert waiting.take(2048, 100) == [large]
    assert waiting.take(0, 100) == []
    assert waiting.take(2048, 100) == [small]
    assert (waiting.records, waiting.size) == (0, 0)


def test_what_is_put_back_comes_first_and_in_its_order() -> None:
    waiting = Waiting()
    first, second, third = Piece(), Piece(), Piece()
    waiting.put(third)
    waiting.put_back([first, second])
    assert waiting.take(10, 10) == [first, second, third]
