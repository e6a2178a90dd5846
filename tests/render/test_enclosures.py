"""Attachments and inline images: encoded once, whole in every message."""

import email
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heliograph.render import MAX_FILES_BYTES, TemplateError, compile_template, load, message
from heliograph.render.enclosures import MAX_FILES, MAX_NAME, parameter
from heliograph.render.headers import clean
from tests.properties.test_dkim_laws import signatures
from tests.render.kit import assert_lawful, compiled, keys, parsed, part, rendered

LOGO = b"\x89PNG\r\n\x1a\n" + random.Random(1).randbytes(3_000)
FILES = {"logo.png": LOGO, "price list.pdf": b"%PDF-1.7\n.\r\nFrom me", "art/cup.jpg": b"\xff\xd8\xff"}
BODY = '<p>Hello</p><img src="logo.png" alt="Shop"><img alt="" src=\'cid:art/cup.jpg\'><img src="./logo.png">'


def problems(body: str = "<p>x</p>", files: dict[str, bytes] | None = None, **message) -> list[str]:
    with pytest.raises(TemplateError) as refused:
        compile_template("t", {"subject": "s", **message}, body, "html", None, FILES if files is None else files)
    return [str(problem) for problem in refused.value.problems]


def structure(message: email.message.Message) -> object:
    if not message.is_multipart():
        return message.get_content_type()
    return {message.get_content_type(): [structure(one) for one in message.get_payload()]}


def test_images_stand_beside_the_bodies_attachments_beside_all_of_it() -> None:
    template = compiled(BODY, files=FILES, attachments=["price list.pdf"])
    data = rendered(template, signers=keys()[0]).data
    assert_lawful(data)
    assert signatures(data) == 2
    message = parsed(data)
    assert structure(message) == {
        "multipart/mixed": [
            {
                "multipart/related": [
                    {"multipart/alternative": ["text/plain", "text/html"]},
                    "image/png",
                    "image/jpeg",
                ]
            },
            "application/pdf",
        ]
    }
    assert all(not one.defects for one in message.walk())
    assert next(message.walk()).get_param("boundary") != message.get_payload(0).get_param("boundary")
    (file,) = message.iter_attachments()
    assert (file.get_filename(), file.get_content()) == ("price list.pdf", FILES["price list.pdf"])
    assert file.get_content_disposition() == "attachment"
    images = [one for one in message.walk() if one.get_content_maintype() == "image"]
    assert [one.get_content() for one in images] == [LOGO, FILES["art/cup.jpg"]]
    assert [one.get_content_disposition() for one in images] == ["inline", "inline"]
    html = part(data, "html")
    ids = [one["Content-ID"].strip("<>") for one in images]
    assert [html.count(f'src="cid:{ids[0]}"'), html.count(f"src='cid:{ids[1]}'")] == [2, 1]


def test_without_attachments_the_images_are_outermost_and_the_other_way_round() -> None:
    assert parsed(rendered(compiled(BODY, files=FILES)).data).get_content_type() == "multipart/related"
    template = compiled(files=FILES, attachments=["art/cup.jpg"])
    assert parsed(rendered(template).data).get_content_type() == "multipart/mixed"
    assert "images" not in template


def test_a_template_without_files_is_the_same_as_ever() -> None:
    plain, beside = compiled(), compiled(files=FILES)
    assert plain == beside
    assert plain.keys().isdisjoint({"attachments", "images"})


def test_a_version_changes_with_the_content_of_a_file() -> None:
    changed = {**FILES, "logo.png": LOGO + b"\0"}
    versions = {compiled(BODY, files=files)["version"] for files in (FILES, changed)}
    versions |= {compiled(files=files, attachments=["logo.png"])["version"] for files in (FILES, changed)}
    assert len(versions) == 4


def test_images_elsewhere_and_images_that_a_person_chooses_stay() -> None:
    body = (
        '<img src="https://shop.example/a.png"><img src="//shop.example/b.png"><img src="data:image/gif;base64,R0">'
        '<img src="{{ profile.avatar }}"><img src="https://x.example/{{ profile.id }}.png"><img alt="x" src="">'
    )
    template = compiled(body)
    assert template["html"].startswith(body)


def test_mjml_shows_images_of_the_folder() -> None:
    body = '<mjml><mj-body><mj-section><mj-column><mj-image src="logo.png" /></mj-column></mj-section></mj-body></mjml>'
    template = compiled(body, "mjml", files=FILES)
    assert template["images"][0]["file"] == "logo.png"
    assert f'src="cid:{template["images"][0]["cid"]}"' in template["html"]


def test_a_name_and_a_type_of_ones_own() -> None:
    entry = {"file": "price list.pdf", "name": "Preise für März – „alles“.pdf", "type": "application/x-pdf"}
    (file,) = parsed(rendered(compiled(files=FILES, attachments=[entry])).data).iter_attachments()
    assert (file.get_filename(), file.get_content_type()) == (entry["name"], "application/x-pdf")


@given(st.text(st.characters(), min_size=1, max_size=MAX_NAME))
@settings(deadline=None)
def test_any_name_comes_back_and_no_line_is_long(name: str) -> None:
    name = clean(name).strip() or "-"
    lines = parameter("filename", name)
    assert all(len(line) <= 76 and line.isascii() for line in lines)
    field = b"Content-Disposition: attachment" + b"".join(b";\r\n " + line for line in lines) + b"\r\n\r\n"
    assert email.message_from_bytes(field).get_filename("") == name


@pytest.mark.parametrize(
    ("body", "message", "said"),
    [
        ("<p>\n<img src='lgo.png'>", {}, "body.html:2: <img src=\"lgo.png\">: there is no file 'lgo.png' in the "
         "template's folder; did you mean 'logo.png'?"),
        ("<img src='price%20list.pdf'>", {}, "body.html:1: <img src=\"price%20list.pdf\">: 'price list.pdf' is no "
         "image: .png, .jpg, .gif, .webp"),
        ("", {"attachments": ["x.pdf"]}, "message.yaml: attachments[0]: there is no file 'x.pdf' in the template's "
         "folder"),
        ("", {"attachments": "logo.png"}, "message.yaml: attachments: expected a list of files"),
        ("", {"attachments": [{"fil": "logo.png"}]}, "message.yaml: attachments[0]: unknown key 'fil'; did you mean "
         "'file'?"),
        ("", {"attachments": [7]}, "message.yaml: attachments[0]: expected the name of a file, or a mapping with file, "
         "name and type"),
        ("", {"attachments": [{"file": "logo.png", "name": "a/b"}]}, "message.yaml: attachments[0]: 'a/b' cannot be a "
         "file's name"),
        ("", {"attachments": [{"file": "logo.png", "name": "a\r\nBcc: x"}]}, "message.yaml: attachments[0]: "
         "'a\\r\\nBcc: x' cannot be a file's name"),
        ("", {"attachments": [{"file": "logo.png", "type": "message/rfc822"}]}, "message.yaml: attachments[0]: "
         "'message/rfc822' is no type of a file, like application/pdf"),
        ("", {"attachments": ["../logo.png"]}, "message.yaml: attachments[0]: there is no file '../logo.png' in the "
         "template's folder; did you mean 'logo.png'?"),
    ],
)  # fmt: skip
def test_what_cannot_travel_is_told_with_its_place(body: str, message: dict, said: str) -> None:
    assert said in problems(body or "<p>x</p>", **message)


def test_what_travels_is_bounded() -> None:
    files = {"a.pdf": bytes(MAX_FILES_BYTES // 2 + 1), "b.pdf": bytes(MAX_FILES_BYTES // 2)}
    assert compiled(files=files, attachments=["a.pdf"])["attachments"]
    assert problems(files=files, attachments=["a.pdf", "b.pdf"]) == [
        "message.yaml: attachments[1]: with 'b.pdf' the files of this template have more than 2 MB: make it smaller, "
        "or link to it"
    ]
    many = {f"{n}.txt": b"x" for n in range(MAX_FILES + 1)}
    assert problems(files=many, attachments=list(many)) == [
        f"message.yaml: attachments[{MAX_FILES}]: at most {MAX_FILES} files travel with a template"
    ]


def test_what_is_kept_parsed_is_bounded_by_the_weight_of_its_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(message, "MAX_LOADED_BYTES", 10_000)
    templates = [compiled(files={"a.pdf": bytes([n]) * 3_000}, attachments=["a.pdf"]) for n in range(4)]
    loaded = [load(template) for template in templates]
    assert load(templates[3]) is loaded[3]
    assert load(templates[0]) is not loaded[0]
