"""Suppression lists from elsewhere, and our own taken along: read as their mailers meant them."""

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heliograph.cli import stopping
from heliograph.cli.rows import BadRow, Columns, Row, _csv_rows, _json_row

MAY = 1_714_564_800_000
"""2024-05-01T12:00:00Z"""


def read(text: str, kind: str = "") -> stopping.Stops:
    rows = _csv_rows(text, Columns.parse([], verbatim=True))
    return stopping.read([row for row in rows if isinstance(row, Row)], kind)


@pytest.mark.parametrize(
    ("tool", "header", "row", "kind", "reason"),
    [
        ("SendGrid", "email,reason,status,created", "a@x.example,550 5.1.1 gone,5.1.1,1714564800", "manual",
         "550 5.1.1 gone"),
        ("SendGrid's spam reports", "email,ip,created", "a@x.example,192.0.2.1,1714564800", "manual", ""),
        ("Mailchimp, cleaned", "Email Address,First Name,CLEAN_TIME,CLEAN_CAMPAIGN_TITLE",
         "a@x.example,Ann,2024-05-01 12:00:00,May", "bounce", "May"),
        ("Amazon SES", "EmailAddress,Reason,LastUpdateTime", "a@x.example,COMPLAINT,2024-05-01T12:00:00+00:00",
         "complaint", "COMPLAINT"),
        ("Postmark", "EmailAddress,SuppressionReason,Origin,CreatedAt",
         "a@x.example,HardBounce,Recipient,2024-05-01T08:00:00-04:00", "bounce", "HardBounce"),
        ("Mailgun", "address,code,error,created_at", 'a@x.example,550,No such user,"Wed, 01 May 2024 12:00:00 GMT"',
         "manual", "No such user"),
    ],
)  # fmt: skip
def test_the_columns_of_common_mailers_are_known(tool: str, header: str, row: str, kind: str, reason: str) -> None:
    text = f"{header}\n{row}\n"
    stops = read(text)
    assert stops.bad == [], tool
    assert stops.rows == [{"address": "a@x.example", "kind": kind, "reason": reason, "at": MAY}]
    assert read(text, "bounce").rows[0]["kind"] == "bounce"


def test_json_lines_as_the_aws_command_prints_them() -> None:
    line = '{"EmailAddress": "a@x.example", "Reason": "BOUNCE", "LastUpdateTime": 1714564800.0}'
    row = _json_row(1, line, Columns.parse([]))
    assert isinstance(row, Row)
    assert stopping.read([row]).rows == [{"address": "a@x.example", "kind": "bounce", "reason": "BOUNCE", "at": MAY}]


def test_an_unsubscribe_is_a_word_on_a_topic_not_a_suppression() -> None:
    text = 'Email Address,UNSUB_TIME,UNSUB_REASON\na@x.example,2024-05-01 12:00:00,"no longer"\n'
    stops = read(text)
    assert (stops.rows, len(stops.bad)) == ([], 1)
    assert "--kind people" in stops.bad[0].reason
    assert read(text, "manual").rows[0]["kind"] == "manual"


def test_bad_rows_say_what_is_wrong_with_them() -> None:
    stops = read("email,created\n,2024\nnobody,\na@x.example,some day\n")
    assert [row.line for row in stops.bad] == [2, 3, 4]
    assert [row.reason for row in stops.bad] == [
        "no email", "'nobody' is not an email address", "'some day' is no instant like 2024-05-01T12:00:00Z",
    ]  # fmt: skip
    assert read("name\nAnn\n").bad == [BadRow(2, "no email")]


SUPPRESSIONS = st.fixed_dictionaries(
    {
        "address": st.from_regex(r"[a-z0-9]{1,9}@[a-z]{1,9}\.example", fullmatch=True),
        "kind": st.sampled_from(stopping.KINDS),
        "at": st.integers(0, 4_102_444_800_000),
        "source": st.text(st.characters(codec="utf-8"), min_size=1),
        "reason": st.text(st.characters(codec="utf-8")),
    }
)


@given(SUPPRESSIONS)
@example({"address": "a@x.example", "kind": "manual", "at": 0, "source": "FALSE", "reason": "1.50"})
def test_what_was_exported_is_read_back_as_it_was(suppression: dict[str, object]) -> None:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([stopping.COLUMNS, stopping.exported(suppression)])
    (row,) = read(out.getvalue()).rows
    expected = {**suppression, **{name: stopping._one_line(str(suppression[name])) for name in ("reason", "source")}}
    assert {"source": "", **row} == expected
    again = stopping.exported({"source": "", **row})
    assert again == stopping.exported(suppression)
