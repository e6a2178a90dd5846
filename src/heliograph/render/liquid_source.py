"""Source of a program being written: lines and their depth, and what is to be put out, collected as long as it may be.

A limit of CPython's is kept here (:data:`MAX_BLOCKS`): what would break it is :class:`Uncovered`, and the compiler goes
back to where it was (:meth:`Emitter.rewind`) and leaves that node to the interpreter.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import NamedTuple

from heliograph.render.liquid_names import Uncovered

MAX_BLOCKS = 16
"""Python's loops and ``try`` in one another; CPython takes 20.  (Its 100 levels of indentation are far: Liquid nests 30
blocks, and what is no loop takes one level.)"""
MAX_UNCHECKED = 32
"""Pieces written before their characters are counted: so much may be held beyond the limit."""


class Code(NamedTuple):
    """A piece of output that only rendering tells: the expression of Python that says it."""

    text: str


class Mark(NamedTuple):
    """A place in the source to come back to."""

    lines: int
    pending: tuple[str | Code, ...]
    depth: int
    blocks: int
    out: str | None


class Emitter:
    """``out``: the variable that is written to; None where a block of nothing but white space is suppressed."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.out: str | None = "o"
        self.wrote = False
        """Whether anything was put out since this was last set to False."""
        self._pending: list[str | Code] = []
        self._depth = 1
        self._blocks = 0
        self._numbers = 0

    def number(self) -> int:
        """For a variable that no other has."""
        self._numbers += 1
        return self._numbers

    def line(self, text: str) -> None:
        self.flush()
        self.lines.append(" " * self._depth + text)

    @contextmanager
    def suite(self, header: str, blocks: int = 0) -> Iterator[None]:
        """What is written within is indented.  ``blocks``: how many of :data:`MAX_BLOCKS` this takes."""
        self.line(header)
        if self._blocks + blocks > MAX_BLOCKS:
            raise Uncovered
        start = len(self.lines)
        self._depth += 1
        self._blocks += blocks
        yield
        self.flush()
        if len(self.lines) == start:
            self.line("pass")
        self._depth -= 1
        self._blocks -= blocks

    @contextmanager
    def into(self, out: str | None) -> Iterator[None]:
        """What is written within goes there."""
        self.flush()
        before, self.out = self.out, out
        yield
        self.flush()
        self.out = before

    def write(self, piece: str | Code) -> None:
        """To the output; text as it will stand there."""
        if self.out is not None:
            self._pending.append(piece)
            if len(self._pending) >= MAX_UNCHECKED:
                self.line(f"{self.out}.check()")
        elif isinstance(piece, Code):
            self.line(piece.text)

    def flush(self) -> None:
        if self._pending:
            pieces = "".join(f"{piece}, " for piece in _joined(self._pending))
            self.lines.append(f"{' ' * self._depth}{self.out} += ({pieces})")
            self._pending = []
            self.wrote = True

    def checked(self, start: int) -> None:
        """The lines since ``start`` are run again and again: they begin with counting."""
        if self.wrote and self.out:
            self.lines.insert(start, f"{' ' * self._depth}{self.out}.check()")

    def caught(self, start: int, handlers: dict[str, str]) -> None:
        """Around the lines since ``start``: what to do when this is raised there."""
        body = [f" {line}" for line in self.lines[start:]]
        del self.lines[start:]
        self.line("try:")
        self.lines += body
        for name, handler in handlers.items():
            self.line(f"except {name}:")
            self.line(f" {handler}")

    def mark(self) -> Mark:
        return Mark(len(self.lines), tuple(self._pending), self._depth, self._blocks, self.out)

    def rewind(self, mark: Mark) -> None:
        del self.lines[mark.lines :]
        self._pending = list(mark.pending)
        self._depth, self._blocks, self.out = mark.depth, mark.blocks, mark.out


def _joined(pieces: Sequence[str | Code]) -> Iterator[str]:
    """Source of each piece, neighbouring texts as one."""
    for is_text, group in groupby(pieces, key=lambda piece: isinstance(piece, str)):
        if is_text:
            yield ascii("".join(map(str, group)))
        else:
            yield from (piece.text for piece in group if isinstance(piece, Code))
