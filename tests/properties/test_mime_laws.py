"""Laws of the bytes: whatever is said, a lawful message that says just that."""

from binascii import b2a_qp

from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.render.dkim import body_hash, canonical_body
from heliograph.render.enclosures import part
from heliograph.render.headers import clean, mailbox, unstructured
from heliograph.render.mime import assemble, base64_lines, encode_body, normalise
from tests.render.kit import assert_lawful, parsed

anything = st.text(st.characters(), max_size=300)
lines = st.lists(
    st.sampled_from(
        [
            "From me",
            ".",
            "..",
            "a ",
            "\t",
            "",
            "é" * 400,
            "x" * 1200,
            "--=_b",
            "--=_amessage",
            "--=_amessage--",
            "blank\t",
            "=20",
            "plain",
            "שלום",
            "🎉",
        ]
    )
    | st.text(max_size=40),
    max_size=12,
).map("\n".join)


def _without_controls(text: str) -> str:
    data = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    data = data.replace("\r\n", "\n").replace("\r", "\n")
    data = "".join(c for c in data if c in "\t\n" or not (ord(c) < 32 or ord(c) == 127))
    return data if data.endswith("\n") else data + "\n"


@given(lines | anything, lines | anything)
@settings(deadline=None, max_examples=200)
def test_both_parts_come_back_as_they_were_said(text: str, html: str) -> None:
    content_type, body, words = assemble(text, html, "message")
    assert words == len(body)
    data = b"MIME-Version: 1.0\r\nContent-Type: " + content_type + b"\r\n\r\n" + body
    assert_lawful(data)
    assert canonical_body(body, trimmed=True) == canonical_body(body)
    plain, rich = parsed(data).iter_parts()
    for found, said in ((plain, text), (rich, html)):
        assert not found.defects
        raw = found.get_payload(decode=True).decode()
        assert raw.replace("\r\n", "\n") == _without_controls(said)


@given(lines | anything, lines | anything, st.lists(st.binary(max_size=200), max_size=2), st.binary(max_size=200))
@settings(deadline=None, max_examples=100)
def test_files_are_canonical_as_they_stand(text: str, html: str, files: list[bytes], image: bytes) -> None:
    made = {"name": "our prices.pdf", "type": "application/pdf"}
    parts = [part({**made, "data": base64_lines(data).decode()}) for data in files]
    shown = part({**made, "cid": "x@inline", "data": base64_lines(image).decode()})
    for images in ((), (shown,)):
        _, body, words = assemble(text, html, "message", images, parts)
        assert body_hash(body, trimmed=True, words=words) == body_hash(body)


@given(lines | anything)
@settings(deadline=None, max_examples=200)
def test_encoded_lines_fit_their_encoding(text: str) -> None:
    encoding, data = encode_body(normalise(text))
    limit = 998 if encoding == b"7bit" else 76
    assert max(map(len, data.split(b"\r\n"))) <= limit
    assert not any(line.startswith(b"From ") for line in data.split(b"\r\n"))
    assert data.isascii()
    assert b"=_" not in data or encoding == b"7bit"


@given(lines | anything | st.text(st.sampled_from("aéжक🎉 \n="), max_size=300))
@settings(deadline=None, max_examples=200)
def test_the_shorter_encoding_is_chosen(text: str) -> None:
    data = normalise(text)
    encoding, _ = encode_body(data)
    data = data.replace(b"\n", b"\r\n")
    quoted = len(b2a_qp(data, istext=True)) * 3 <= len(data) * 4 + 100
    assert encoding == b"7bit" or encoding == (b"quoted-printable" if quoted else b"base64")


@given(anything | st.text(st.sampled_from("ab =?\r\n\t,"), max_size=300))
@settings(deadline=None, max_examples=300)
def test_a_subject_is_one_field_and_reads_as_it_was_meant(text: str) -> None:
    raw = unstructured("Subject", text)
    assert raw.endswith(b"\r\n")
    folded = raw[:-2].split(b"\r\n")
    assert all(line[:1] == b" " and line.strip() for line in folded[1:])
    assert max(map(len, folded)) <= 998
    assert raw.isascii()
    assert str(parsed(raw + b"\r\n")["Subject"]) == clean(text)


@given(anything)
@settings(deadline=None, max_examples=200)
def test_a_display_name_never_becomes_an_address(name: str) -> None:
    name = name.replace("<", "").replace(">", "")
    raw = mailbox("From", f"{name} <shop@example.com>")
    assert max(map(len, raw.split(b"\r\n"))) <= 998
    assert all(line[:1] == b" " for line in raw[:-2].split(b"\r\n")[1:])
    assert [address.addr_spec for address in parsed(raw + b"\r\n")["From"].addresses] == ["shop@example.com"]
