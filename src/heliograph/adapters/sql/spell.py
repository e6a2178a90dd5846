"""How texts are spelled in the database: UTF-8 in ``bytea``, so that NUL fits and order is that of the code points.

A B-tree takes 2,704 bytes of key.  The ids of people end at 1,002 bytes and those of events at 400, but the port sets
no bound: a longer text stands in keys as its beginning and a digest (:func:`place`; FF never occurs in UTF-8), and
whole in the table ``long_texts``.  Two long texts that share their first 960 bytes sort by their
digests, on this store alone.

A lone surrogate is no text and has no UTF-8: ``encode`` raises UnicodeEncodeError (a ValueError) before anything is
written, as every other store does when it spells a row.
"""

from hashlib import blake2b

LONGEST = 1_024
_BEGINNING = 960
_CUT = b"\xff"


def place(text: str) -> bytes:
    """What stands for this text in a key."""
    raw = text.encode()
    if len(raw) <= LONGEST:
        return raw
    return raw[:_BEGINNING] + _CUT + blake2b(raw, digest_size=32).digest()


def is_cut(stored: bytes) -> bool:
    """Whether the text is in ``long_texts``."""
    return len(stored) > _BEGINNING and stored[_BEGINNING : _BEGINNING + 1] == _CUT


def behind(prefix: bytes) -> bytes:
    """The first bytes behind everything that begins with ``prefix``: FF is above all UTF-8."""
    return prefix + b"\xff\xff"
