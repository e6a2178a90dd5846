"""The ways of saying no: to a template when it is published, to a message when it is rendered, to an address."""

import difflib
from collections.abc import Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True):
    """What is wrong with a template.  ``file`` is relative to its folder, ``line`` counts from 1."""

    file: str
    line: int | None
    sentence: str

    def __str__(self) -> str:
        where = self.file if self.line is None else f"{self.file}:{self.line}"
        return f"{where}: {self.sentence}"


class TemplateError(Exception):
    """A template that cannot be published: its author has to act.  ``problems`` lists all that was found."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


class Skip(Exception):
    """This message must not be sent.  ``reason`` is kept with it: ``missing: PATH``, ``liquid: SENTENCE``,
    ``header: SENTENCE``, ``no_address`` or ``bad_address``.  Nobody has to act: the next message may be fine."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class BadAddress(ValueError):
    """This text is no mailbox that can stand in a header or an envelope."""


def nearest(word: str, words: Iterable[str]) -> str:
    """``; did you mean 'subject'?``, or nothing."""
    near = difflib.get_close_matches(word, list(words), 1)
    return f"; did you mean {near[0]!r}?" if near else ""
