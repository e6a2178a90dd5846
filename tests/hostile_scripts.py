"""What a hostile receiver does, as data: points of an SMTP dialogue, tricks, and scripts that play them there."""

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, StrEnum


class Point(StrEnum):
    """Where in the dialogue.  BODY: in the message, at :attr:`Hostile.body_at`; DOT: behind its final dot."""

    CONNECT = "connect"
    BANNER = "banner"
    EHLO = "ehlo"
    STARTTLS = "starttls"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    BODY = "body"
    DOT = "dot"
    RSET = "rset"
    QUIT = "quit"


class End(Enum):
    """How a connection can end."""

    FIN = "closes"
    RST = "resets"
    STALL = "falls silent"


class Piece(Enum):
    """Something made of the reply that would be proper here."""

    WHOLE = "the whole reply"
    HALF = "its first half"
    LINE = "the first line of a longer one"
    SPLIT = "in packets of one byte"


@dataclass(frozen=True)
class Flood:
    """These bytes, without end."""

    data: bytes


Act = bytes | Piece | End | Flood
Trick = tuple[Act, ...]

ENDS: Mapping[str, Trick] = {
    f"{end.value} {when}".strip(): (*said, end)
    for end in End
    for when, said in {
        "": (),
        "within the reply": (Piece.HALF,),
        "between two lines": (Piece.LINE,),
        "behind the reply": (Piece.WHOLE,),
    }.items()
}
"""The connection ends, before, within or behind what would be proper."""

LINES = {
    "421 closing": b"421 4.3.2 closing down\r\n",
    "421 rate": b"421 4.7.0 too many messages, slow down\r\n",
    "450 greylisted": b"450 4.7.1 greylisted, come back later\r\n",
    "450 full": b"450 4.2.2 the mailbox is full\r\n",
    "451": b"451 4.3.0 later\r\n",
    "452": b"452 4.3.1 no space\r\n",
    "452 bare": b"452\r\n",
    "550 unknown": b"550 5.1.1 no such user\r\n",
    "550 about the sender": b"550 5.1.1 <shop@shop.example>: Sender address rejected: User unknown\r\n",
    "550 policy": b"550 5.7.26 this mail is not authenticated\r\n",
    "550 bare": b"550 no\r\n",
    "552 too big": b"552 5.3.4 the message is too big\r\n",
    "552 full": b"552 5.2.2 the mailbox is full\r\n",
    "554 blocked": b"554 5.7.1 blocked by our policy\r\n",
    "554 long": b"554-5.7.1 this is\r\n554-5.7.1 a long\r\n554 5.7.1 story\r\n",
}
ANSWERS: Mapping[str, Trick] = {
    **{name: (line,) for name, line in LINES.items()},
    "421 and closes": (LINES["421 closing"], End.FIN),
    "421 and resets": (LINES["421 closing"], End.RST),
    "450 and closes": (LINES["450 greylisted"], End.FIN),
    "550 and closes": (LINES["550 unknown"], End.FIN),
    "550 and resets": (LINES["550 unknown"], End.RST),
    "554 and falls silent": (LINES["554 blocked"], End.STALL),
}
"""It says no, and goes on or not."""

NONSENSE: Mapping[str, Trick] = {
    "two codes in one reply": (b"250-fine\r\n550 5.1.1 no such user\r\n",),
    "refuses and takes in one reply": (b"550-5.1.1 no such user\r\n250 fine\r\n",),
    "garbage": (b"\x00\xff\xfe hello\r\n",),
    "HTTP": (b"HTTP/1.1 400 Bad Request\r\n\r\n",),
    "no number": (b"ok\r\n",),
    "a number too great": (b"999 9.9.9 no\r\n",),
    "a number too small": (b"150 wait\r\n",),
    "334": (b"334 VXNlcm5hbWU6\r\n",),
    "354": (b"354 go on\r\n",),
    "250": (b"250 2.0.0 fine\r\n",),
    "220": (b"220 hello\r\n",),
    "251": (b"251 2.1.5 will forward\r\n",),
    "503": (b"503 5.5.1 bad sequence of commands\r\n",),
    "530": (b"530 5.7.0 authenticate first\r\n",),
    "535": (b"535 5.7.8 authentication failed\r\n",),
    "NUL in the words": (b"250 2.0.0 o\x00k\r\n",),
    "8-bit words": (b"250 2.0.0 \xff\xfe\x80 ok\r\n",),
    "bare LF": (b"250 2.0.0 ok\n",),
    "bare CR": (b"250 2.0.0 ok\r", b"250 2.0.0 ok\r\n"),
    "an empty line": (b"\r\n",),
    "byte by byte": (Piece.SPLIT,),
    "two replies at once": (Piece.WHOLE, Piece.WHOLE),
    "a 250 too many": (Piece.WHOLE, b"250 2.0.0 fine\r\n"),
    "a 354 too many": (Piece.WHOLE, b"354 go on\r\n"),
    "a 421 behind": (Piece.WHOLE, b"421 4.3.2 closing down\r\n"),
    "a line without end": (Flood(b"x" * 1024),),
    "a reply without end": (Flood(b"250-more\r\n"),),
    "a refusal without end": (Flood(b"550-5.1.1 no such user\r\n"),),
}
"""It does not speak SMTP, or not in turn."""

TRICKS: Mapping[str, Trick] = {**ENDS, **ANSWERS, **NONSENSE}


@dataclass(frozen=True)
class Turn:
    """A trick, played at those occurrences of its point (counted from 0) that :attr:`at` names; None: always."""

    trick: Trick
    at: frozenset[int] | None = frozenset({1, 2, 4})

    def now(self, count: int) -> bool:
        return self.at is None or count in self.at


Script = Mapping[Point, Turn]


NOBODY = b"550 5.1.1 no such user\r\n"
"""The reply that condemns an address."""

_WHOLE = re.compile(rb"((?:[2-5]\d\d-[^\r\n]*\r?\n)*)([2-5]\d\d)(?: [^\n]*|\r?)\n")


def first_code(said: bytes) -> int:
    """The code of the first whole reply in these bytes, 0 when there is none.  Not the client's reader, on purpose."""
    found = _WHOLE.match(said)
    if found is None or {line[:3] for line in found[1].splitlines()} - {found[2]}:
        return 0
    return int(found[2])


def matrix(points: Sequence[Point] = tuple(Point)) -> dict[str, Script]:
    """Every trick at every point where it means anything."""
    return {
        f"{point}: {name}": {point: Turn(trick)}
        for point, (name, trick) in itertools.product(points, TRICKS.items())
        if point not in (Point.CONNECT, Point.BODY) or not set(trick) & set(Piece)
    }


PAIRS: Mapping[str, Script] = {
    "354 behind a refused recipient": {
        Point.RCPT: Turn((LINES["550 unknown"],)), Point.DATA: Turn((b"354 go\r\n",), None),
    },
    "354 behind a refused sender": {Point.MAIL: Turn((LINES["550 policy"],)), Point.DATA: Turn((b"354 go\r\n",), None)},
    "452 recipient, DATA all the same, drop at the dot": {
        Point.RCPT: Turn((LINES["452"],)), Point.DATA: Turn((b"354 go\r\n",), None), Point.DOT: Turn((End.FIN,)),
    },
    "refuses and drops at RSET": {Point.RCPT: Turn((LINES["550 unknown"],)), Point.RSET: Turn((End.RST,))},
    "drops in the body and at the dot": {Point.BODY: Turn((End.RST,)), Point.DOT: Turn((End.FIN,), frozenset({3, 5}))},
}  # fmt: skip
"""What only two points together bring about."""
