"""Files that travel with a message: attachments, and images that the HTML shows.

Both lie in the template's folder.  ``attachments:`` of ``message.yaml`` names the ones; an ``<img src="logo.png">``
(or ``cid:logo.png``) in the body the others.  They are the same in every message, so they are encoded once, when the
template is published (:class:`Enclosures`), and only copied when one is sent (:func:`part`).
"""

import re
from collections.abc import Mapping
from html import escape, unescape
from typing import Any, Final
from urllib.parse import quote, unquote

import msgspec

from heliograph.events.ids import make_id
from heliograph.render.errors import Problem, nearest
from heliograph.render.headers import SOFT, clean
from heliograph.render.mime import base64_lines
from heliograph.render.protect import Protected

MAX_BYTES: Final = 2_000_000
"""Octets of all files of one template.  In base64 they are 2.7 MB, well below the 10 MB that careful receivers take,
and a mailer holds two such messages for each connection."""
MAX_FILES: Final = 20
"""Files of one template that travel with it; mail programs list attachments in one row."""
MAX_NAME: Final = 100
"""Characters of a file's name; file systems take 255 octets."""
TYPES: Final = {
    "avif": "image/avif", "bmp": "image/bmp", "csv": "text/csv", "doc": "application/msword",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "gif": "image/gif", "gz": "application/gzip", "htm": "text/html", "html": "text/html", "ics": "text/calendar",
    "jpeg": "image/jpeg", "jpg": "image/jpeg", "json": "application/json", "md": "text/markdown", "mp3": "audio/mpeg",
    "mp4": "video/mp4", "ods": "application/vnd.oasis.opendocument.spreadsheet",
    "odt": "application/vnd.oasis.opendocument.text", "pdf": "application/pdf", "png": "image/png",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
    "rtf": "application/rtf", "svg": "image/svg+xml", "tif": "image/tiff", "tiff": "image/tiff", "txt": "text/plain",
    "vcf": "text/vcard", "webp": "image/webp", "xls": "application/vnd.ms-excel",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", "xml": "application/xml",
    "zip": "application/zip",
}  # fmt: skip
"""By extension.  Not the standard library's table, which reads files of the machine."""
OTHER_TYPE: Final = "application/octet-stream"
KEYS: Final = ("file", "name", "type")

_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,60}/[a-z0-9!#$&^_.+-]{1,90}", re.IGNORECASE)
_COMPOSITE = ("message/", "multipart/")
"""RFC 2045, section 6.4: these cannot be base64."""
_IMG = re.compile(r"""(<img\b[^>]*?\ssrc\s*=\s*)(["'])(.*?)\2""", re.IGNORECASE | re.DOTALL)
_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*:|//", re.IGNORECASE)
_NO_NAME = frozenset('/\\"<>')
"""No path, and nothing that readers take for a mark around the name."""
_PLAIN_NAME = re.compile(r'[^"\\%]+')


class Enclosures:
    """Collects what travels with one template.  ``files``: contents by their path in the template's folder.  What is
    wrong goes to ``problems``."""

    def __init__(self, files: Mapping[str, bytes], problems: list[Problem]) -> None:
        self._files = files
        self._problems = problems
        self._images: dict[str, dict[str, str]] = {}
        self._attachments: list[dict[str, str]] = []

    def made(self) -> dict[str, Any]:
        """What the compiled template carries of them: nothing when there are none, as before there were any."""
        found = {"attachments": self._attachments, "images": list(self._images.values())}
        return {kind: list(parts) for kind, parts in found.items() if parts}

    def digest(self) -> bytes | None:
        """What a template's version depends on."""
        made = self.made()
        return msgspec.json.encode(made, order="deterministic") if made else None

    # -- attachments --

    def attach(self, written: Any, file: str) -> None:
        """``attachments:`` as read from ``file``: a list of names, or of mappings with file, name and type."""
        if not isinstance(written, list):
            self._problem(file, None, "attachments: expected a list of files")
            return
        for number, one in enumerate(written):
            if (part := self._attachment(one, file, f"attachments[{number}]")) is not None:
                self._attachments.append(part)

    def _attachment(self, one: Any, file: str, where: str) -> dict[str, str] | None:
        fields = one if isinstance(one, dict) else {"file": one}
        for key in fields:
            if key not in KEYS:
                self._problem(file, None, f"{where}: unknown key {key!r}{nearest(str(key), KEYS)}")
        if any(not isinstance(fields.get(key, "-"), str) for key in KEYS) or "file" not in fields:
            self._problem(file, None, f"{where}: expected the name of a file, or a mapping with file, name and type")
            return None
        data = self._data(fields["file"], file, None, where)
        if data is None:
            return None
        name, media = fields.get("name", fields["file"].rpartition("/")[2]), fields.get("type", "")
        if why := _bad_name(name) or _bad_type(media):
            self._problem(file, None, f"{where}: {why}")
            return None
        return _part(fields["file"], name, media or type_of(name), data)

    # -- images --

    def show(self, markup: str, protected: Protected, body: str, file: str) -> str:
        """The markup with ``cid:`` addresses for the images that lie in the template's folder."""
        placeholder = protected.pattern()

        def place(match: re.Match[str]) -> str:
            before, mark, written = match.groups()
            if placeholder.search(written):
                return match[0]
            source = unescape(written).strip()
            if not source or (_ELSEWHERE.match(source) and not source.startswith("cid:")):
                return match[0]
            cid = self._image(source, file, _line(body, written))
            return f"{before}{mark}{escape(f'cid:{cid}')}{mark}"

        return _IMG.sub(place, markup)

    def _image(self, source: str, file: str, line: int | None) -> str:
        name = unquote(source.removeprefix("cid:").removeprefix("./"))
        if name in self._images:
            return self._images[name]["cid"]
        where = f'<img src="{source}">'
        data = self._data(name, file, line, where)
        media = type_of(name)
        if data is not None and not media.startswith("image/"):
            self._problem(file, line, f"{where}: {name!r} is no image: .png, .jpg, .gif, .webp")
            data = None
        if data is None:
            return "missing"
        cid = f"{make_id('image', name, data)}@inline"
        self._images[name] = {**_part(name, name.rpartition("/")[2], media, data), "cid": cid}
        return cid

    # -- both --

    def _data(self, name: str, file: str, line: int | None, where: str) -> bytes | None:
        data = self._files.get(name)
        if data is None:
            hint = nearest(name, self._files)
            self._problem(file, line, f"{where}: there is no file {name!r} in the template's folder{hint}")
        elif len(self._images) + len(self._attachments) >= MAX_FILES:
            self._problem(file, line, f"{where}: at most {MAX_FILES} files travel with a template")
        elif self._total() + len(data) > MAX_BYTES:
            self._problem(
                file, line,
                f"{where}: with {name!r} the files of this template have more than {MAX_BYTES // 1_000_000} MB: "
                "make it smaller, or link to it",
            )  # fmt: skip
        else:
            return data
        return None

    def _total(self) -> int:
        return sum(len(self._files[part["file"]]) for part in (*self._attachments, *self._images.values()))

    def _problem(self, file: str, line: int | None, sentence: str) -> None:
        self._problems.append(Problem(file, line, sentence))


def _line(body: str, written: str) -> int | None:
    at = body.find(written)
    return body.count("\n", 0, at) + 1 if at >= 0 else None


def _bad_name(name: str) -> str:
    if name != clean(name).strip() or not name or not _NO_NAME.isdisjoint(name):
        return f"{name!r} cannot be a file's name"
    return f"a name has at most {MAX_NAME} characters" if len(name) > MAX_NAME else ""


def _bad_type(media: str) -> str:
    if media and (not _TYPE.fullmatch(media) or media.lower().startswith(_COMPOSITE)):
        return f"{media!r} is no type of a file, like application/pdf"
    return ""


def type_of(name: str) -> str:
    return TYPES.get(name.rpartition(".")[2].lower(), OTHER_TYPE)


def _part(file: str, name: str, media: str, data: bytes) -> dict[str, str]:
    """``data``: base64 lines with their CRLF, as they will stand in every message."""
    return {"file": file, "name": name, "type": media, "data": base64_lines(data).decode()}


def part(made: Mapping[str, str]) -> bytes:
    """A part of a message: its header and its lines."""
    cid = made.get("cid")
    disposition = b"inline" if cid else b"attachment"
    lines = [
        b"Content-Type: " + made["type"].encode(),
        b"Content-Transfer-Encoding: base64",
        *([b"Content-ID: <" + cid.encode() + b">"] if cid else []),
        b"Content-Disposition: "
        + disposition
        + b"".join(b";\r\n " + one for one in parameter("filename", made["name"])),
    ]
    return b"\r\n".join(lines) + b"\r\n\r\n" + made["data"].encode()


def enclosed_bytes(compiled: Mapping[str, Any]) -> int:
    """Octets that a compiled template carries in files, in base64."""
    return sum(len(made["data"]) for kind in ("attachments", "images") for made in compiled.get(kind, ()))


def parameter(name: str, value: str) -> list[bytes]:
    """A parameter of a MIME field: quoted when it is short ASCII, else as RFC 2231 has it, in pieces that fit lines."""
    plain = value.isascii() and _PLAIN_NAME.fullmatch(value) and "=?" not in value  # lenient readers decode words there
    if plain and len(name) + len(value) + 6 <= SOFT:
        return [f'{name}="{value}"'.encode()]
    coded, room = quote(value, safe=""), SOFT - len(name) - 16
    pieces = re.findall(rf"(?:%..|[^%]){{1,{room // 3}}}", coded)
    if len(pieces) == 1:
        return [f"{name}*=utf-8''{coded}".encode()]
    pieces[0] = f"utf-8''{pieces[0]}"
    return [f"{name}*{number}*={piece}".encode() for number, piece in enumerate(pieces)]
