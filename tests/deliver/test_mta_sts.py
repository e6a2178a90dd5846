"""Records and policies of RFC 8461."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from heliograph.deliver.mta_sts import LONGEST_S, BadPolicy, Policy, allows, parse, record_id

EXAMPLE = """version: STSv1
mode: enforce
mx: mail.example.com
mx: *.example.net
mx: backupmx.example.com
max_age: 604800
"""


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_the_example_of_the_rfc(end: str) -> None:
    policy = parse(EXAMPLE.replace("\n", end))
    assert policy == Policy("enforce", 604800, ("mail.example.com", "*.example.net", "backupmx.example.com"))


@pytest.mark.parametrize(
    ("host", "allowed"),
    [
        ("mail.example.com", True), ("MAIL.example.com.", True), ("a.mail.example.com", False), ("example.com", False),
        ("a.example.net", True), ("a.b.example.net", False), ("example.net", False), ("notexample.net", False),
        ("", False),
    ],
)  # fmt: skip
def test_a_star_is_one_label(host: str, allowed: bool) -> None:
    assert allows(parse(EXAMPLE), host) == allowed


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=a1"], "a1"),
        (["v=STSv1; other=x; id=a1; id=b2"], "a1"),
        (["v=spf1 -all", "v=STSv1; id=a1"], "a1"),
        (["v=STSv1; id=a1", "v=STSv1; id=a1"], ""),
        (["v=STSv1"], ""),
        (["v=STSv1; id=" + "a" * 33], ""),
        (["v=STSv1; id=a-b"], ""),
        (["v=STSv10; id=a1"], ""),
        (["x=1; v=STSv1; id=a1"], ""),
        ([], ""),
    ],
)
def test_one_record_with_an_id_announces_a_policy(texts: list[str], found: str) -> None:
    assert record_id(texts) == found


@pytest.mark.parametrize(
    "text",
    [
        "", "version: STSv2\nmode: none\nmax_age: 1", "mode: none\nmax_age: 1", "version: STSv1\nmax_age: 1",
        "version: STSv1\nmode: strict\nmax_age: 1\nmx: a", "version: STSv1\nmode: enforce\nmx: a",
        "version: STSv1\nmode: enforce\nmax_age: -1\nmx: a", "version: STSv1\nmode: enforce\nmax_age: 1",
        "version: STSv1\nmode: enforce\nmax_age: 1\nmx: a.*.example", "<html>version: STSv1</html>",
        "version: STSv1\nmode: enforce\nmax_age: 1\n" + "mx: a\n" * 500,
    ],
)  # fmt: skip
def test_what_is_no_policy_is_refused(text: str) -> None:
    with pytest.raises(BadPolicy):
        parse(text)


def test_unknown_fields_are_ignored_and_the_first_of_a_field_counts() -> None:
    policy = parse("version: STSv1\nnew: thing\nmode: testing\nmode: enforce\nmax_age: 9999999999\nmx: a")
    assert policy == Policy("testing", LONGEST_S, ("a",))


def test_a_policy_of_mode_none_needs_no_mx() -> None:
    assert parse("version: STSv1\nmode: none\nmax_age: 60\n").mode == "none"


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_refused(text: str) -> None:
    with contextlib.suppress(BadPolicy):
        parse(text)
    record_id([text])
