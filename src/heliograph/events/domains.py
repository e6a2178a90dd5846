"""Domain names beyond ASCII as A-labels: one function wherever an address is compared, signed or sent.

The standard library's ``idna`` codec is IDNA 2003: it turns ``straße.de`` into ``strasse.de``, which today is another
domain with another owner.  What is here follows UTS 46 without its transitional step, as browsers do: ``ß`` and ``ς``
stay, everything else is folded and normalised by the library.  Refused is what the library would turn into yet another
domain: joiners, which IDNA 2003 drops, and Cherokee, whose cases it folds the other way round.
"""

import re
from encodings.idna import nameprep
from unicodedata import normalize

_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_LABEL = re.compile("[a-z0-9_-]{1,63}")
"""RFC 1035, section 2.3.4, and the underscore that some hosts have."""
_KEPT = re.compile("([ßς])")
_OTHERWISE = re.compile("[\u200c\u200d\u13a0-\u13ff\uab70-\uabbf]")


def a_label(domain: str) -> str:
    """The domain in lower-case ASCII; raises :class:`UnicodeError` when there is no such domain."""
    if domain.isascii():
        return domain.lower()
    return ".".join(map(_label, _DOTS.split(domain)))


def _label(label: str) -> str:
    text = label.lower() if label.isascii() else _folded(label)
    if not text.isascii():
        text = "xn--" + text.encode("punycode").decode("ascii")
    if not _LABEL.fullmatch(text):
        raise UnicodeError(f"{label[:63]!r} is no label of a domain: 1 to 63 octets of letters, digits and hyphens")
    return text


def _folded(label: str) -> str:
    if _OTHERWISE.search(label):
        raise UnicodeError(f"{label!r} has a character that other software reads as another domain")
    pieces = _KEPT.split(label.replace("\u1e9e", "ß"))
    folded = [piece if piece in ("ß", "ς") else nameprep(normalize("NFKC", piece.casefold())) for piece in pieces]
    return normalize("NFC", "".join(folded))
