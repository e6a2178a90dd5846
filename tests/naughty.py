"""Strings that break mail: the Big List of Naughty Strings, payloads of SMTP smuggling and header injection, and
made-up mixtures of both, always the same for a seed."""

import json
import random
from collections.abc import Sequence
from pathlib import Path

BIG_LIST = Path(__file__).parent / "data" / "blns.json"
"""https://github.com/minimaxir/big-list-of-naughty-strings, MIT (``blns.LICENSE``), as of npm's ``blns`` 2.0.4."""

ENDS = (
    "\r\n", "\n", "\r", "\n\r", "\r\r\n", "\r\n\n", "\0\r\n", "\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c",
    "\ufeff",
)  # fmt: skip
DOTS = (
    "{0}.{0}", "{0}.\r\n", "\r\n.{0}",
    "{0}.{0}MAIL FROM:<evil@example.com>{0}RCPT TO:<victim@example.com>{0}DATA{0}",
)  # fmt: skip
INJECTED = (
    "{0}Bcc: victim@example.com", "{0}{0}<script>alert(1)</script>", "{0} folded", "{0}\tfolded", "{0}--=_a",
)  # fmt: skip
PAYLOADS = [
    *(form.format(end) for form in (*DOTS, *INJECTED) for end in ENDS),
    ".", "..", ".\r\n", "\r\n", "From someone", "\nFrom someone", ">From", "--", "--=_a", "-- \n", "=", "=\r\n", "=20",
    "=?", "=?utf-8?q?x=0D=0ABcc:_victim@example.com?=", "=?utf-8?b?eA0KQmNjOiB2QGV4YW1wbGUuY29t?=", "=?utf-8?q?=00?=",
    "=?utf-7?q?+AA0ACg-?=", "?=", "=?x?y?z?=", "a=?utf-8?q?b?=c", "=?utf-8?b?=?=", '"', "\\", '\\"', 'a"b\\c', "<>",
    "<a@b.example>", "x <a@b.example>", "a@b.example, c@d.example", "(comment)", "group: a@b.example;", "a\tb",
    " leading", "trailing ", "a  b", "\t", " ", "\u00a0", "\u3000", "\u200b", "\u202e", "é" * 400, "x" * 10_240,
    "é" * 5_120, "🎉" * 2_560, "x " * 5_120, " " * 998, "." * 998, "a" * 997 + "\r\n.\r\n", "👩‍👩‍👧‍👦" * 40,
    "\ud800", "a\udfffb", "\ufffe\uffff", "\U0010ffff", "ß", "İ", "ǅ", "&amp;", "&#13;&#10;", "%0d%0a",
    "{{ profile.id }}", "{% raw %}", "]]>", "-->", "</body>", "</title>", "\x1b[31m", "\x7f",
]  # fmt: skip
PIECES = (
    *ENDS, *"abcXYZ019 .,:;<>@()[]\"\\=?_-+/%&#'{}|~^`$!*\t\0", "é", "ß", "ж", "中", "🎉", "\u0301", "\u200d",
    "=?utf-8?", "?=", "\r\n.\r\n", "From ", "--", "word ", "long" * 30,
)  # fmt: skip


def strings(count: int, seed: int) -> list[str]:
    """``count`` of them: the big list and the payloads first, then mixtures."""
    chance = random.Random(seed)
    fixed = [*json.loads(BIG_LIST.read_text()), *PAYLOADS]
    return [*fixed, *(_mixture(chance, fixed) for _ in range(count - len(fixed)))][:count]


def _mixture(chance: random.Random, fixed: Sequence[str]) -> str:
    short = [piece for piece in chance.choices(fixed, k=2) if len(piece) < 400]
    pieces = [*chance.choices(PIECES, k=chance.randint(1, 40)), *short]
    pieces += [chr(chance.randrange(0x110000)) for _ in range(chance.randint(0, 5))]
    chance.shuffle(pieces)
    return "".join(pieces)
