"""The letters of the mail benchmarks: a Liquid body of 4 KB with 40 fields makes a message of about 10 KB; two more of
2 and of 100 KB."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from heliograph import render
from heliograph.render import Envelope, LinkKeys, Signer

FIELDS = 40
SIZE = 10_240
SENDER = "Gift Shop <hello@shop.example>"
POSTAL = "1 Quay Street, Bristol BS1 4DJ, UK"
BASE_URL = "http://127.0.0.1:8080"
DATE = 1_790_000_000_000

ABROAD = "Wörter für José"
"""A value that makes a letter quoted-printable."""

_LINE = '<p style="margin:0 0 8px">A line of the letter, number {n}, is written for {field} alone.</p>\n'
_SCHEMES = ("none", "rsa", "ed25519", "both")
SCHEMES: Sequence[str] = _SCHEMES


class Shape(NamedTuple):
    """``static``: lines that are the same for everybody, to bring the finished message to its size."""

    fields: int
    offers: int
    static: int


SHAPES: Mapping[int, Shape] = {2_048: Shape(1, 0, 0), SIZE: Shape(FIELDS, 3, 5), 102_400: Shape(FIELDS, 3, 785)}
"""By the bytes of the finished message, about."""


def body(size: int = SIZE) -> str:
    """HTML with so many fields; Liquid and Jinja2 read the same source."""
    shape = SHAPES[size]
    lines = [_LINE.format(n=n, field=f"{{{{ profile.field{n} }}}}") for n in range(shape.fields)]
    links = [f'<p><a href="https://shop.example/offers/{n}">See offer {n}</a></p>\n' for n in range(shape.offers)]
    static = "<p>" + "\n".join(["Terms and conditions as they stand in every such letter."] * shape.static) + "</p>\n"
    return "".join(("<html><body>\n", *lines, *links, static, "</body></html>"))


def context(n: int, value: str = "value") -> dict[str, Any]:
    profile = {f"field{k}": f"person {n} & {value} {k}" for k in range(FIELDS)}
    profile |= {"id": f"user-{n}", "email": f"user-{n}@bench.example", "firstName": "Ada"}
    return {"profile": profile, "event": None, "trigger": None, "last": {}, "run": {"key": "", "journey": "bench"}}


def template(size: int = SIZE) -> dict[str, Any]:
    message = {"subject": "{{ profile.firstName }}, a letter", "class": "marketing"}
    return render.compile_template("letter", message, body(size), "html")


def pem(kind: str) -> str:
    key = generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def kinds(scheme: str) -> list[str]:
    return {"none": [], "both": ["rsa", "ed25519"]}.get(scheme, [scheme])


def signers(scheme: str) -> tuple[Signer, ...]:
    return tuple(Signer("shop.example", kind, pem(kind)) for kind in kinds(scheme))


def envelope(n: int, signing: tuple[Signer, ...] = ()) -> Envelope:
    return Envelope(
        message_id=f"message{n:019d}", to=f"user-{n}@bench.example", from_=SENDER, date_ms=DATE + n, base_url=BASE_URL,
        link_keys=LinkKeys({1: bytes(32)}), key=f"u:{n}", topic="offers", postal_address=POSTAL, signers=signing,
    )  # fmt: skip
