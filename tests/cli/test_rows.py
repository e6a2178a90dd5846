"""Reading rows: columns by name, values by form, every bad row with its line."""

from pathlib import Path

import pytest

from heliograph.cli.rows import BadRow, Columns, MapError, Row, read_rows, typed, unfold


def rows(tmp_path: Path, text: str, *mapping: str, suffix: str = ".csv") -> list[Row | BadRow]:
    file = tmp_path / f"rows{suffix}"
    file.write_bytes(text.encode())
    return read_rows(file, Columns.parse(list(mapping)))


def test_columns_with_a_meaning_are_known_in_any_spelling(tmp_path: Path) -> None:
    [row] = rows(tmp_path, "User ID,E-Mail,firstName,Consent At\nu1,a@b.example,Ada,2024-01-01\n")
    assert row == Row(2, {"user_id": "u1", "email": "a@b.example", "firstName": "Ada", "consent_at": "2024-01-01"})


def test_map_renames_drops_and_keeps_text(tmp_path: Path) -> None:
    [row] = rows(tmp_path, "Kunde;PLZ;x\n7;10115;1\n", "Kunde=user_id", "PLZ=address.zip:text,x=-")
    assert row == Row(2, {"user_id": "7", "address.zip": "10115"})


def test_map_of_an_unknown_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="there is no column Kunde; there are: a, b"):
        rows(tmp_path, "a,b\n1,2\n", "Kunde=user_id")


@pytest.mark.parametrize(
    ("text", "value"),
    [("12", 12), ("-1.50", -1.5), ("007", "007"), ("+44", "+44"), ("true", True), ("FALSE", False), ("1e5", "1e5"),
     ("1,5", "1,5"), ("12345678901234567", "12345678901234567"), ("yes", "yes"), (".5", ".5")],
)  # fmt: skip
def test_only_plain_numbers_and_booleans_are_typed(text: str, value: object) -> None:
    assert typed(text) == value
    assert type(typed(text)) is type(value)


def test_lines_are_those_of_the_file_also_behind_a_cell_of_several_lines(tmp_path: Path) -> None:
    found = rows(tmp_path, '\ufeffuser_id,note\nu1,"one\ntwo"\n\nu2\nu3,x\n')
    assert [row.line for row in found] == [2, 5, 6]
    assert found[1] == BadRow(5, "1 values for 2 columns")


def test_a_bad_quote_spoils_its_row_only(tmp_path: Path) -> None:
    found = rows(tmp_path, 'user_id,note\nu1,"a"b\nu2,c\n')
    assert [type(row) for row in found] == [BadRow, Row]
    assert found[0].line == 2


def test_a_file_that_is_not_utf8_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_bytes(b"user_id\nu1\nM\xfcller\n")
    with pytest.raises(MapError, match="line 3 is not UTF-8"):
        read_rows(tmp_path / "x.csv", Columns.parse([]))


def test_json_lines(tmp_path: Path) -> None:
    found = rows(tmp_path, '{"userId": "u1", "n": 1}\n\n[1]\n{\n', suffix=".jsonl")
    assert found[0] == Row(1, {"user_id": "u1", "n": 1})
    assert [(row.line, type(row)) for row in found[1:]] == [(3, BadRow), (4, BadRow)]


def test_two_columns_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="two columns are both email"):
        rows(tmp_path, "email,E-Mail\na,b\n")


def test_dots_unfold() -> None:
    assert unfold({"a.b": 1, "a.c": 2, "d": 3}) == {"a": {"b": 1, "c": 2}, "d": 3}
    with pytest.raises(ValueError, match="a is a value already"):
        unfold({"a": 1, "a.b": 2})
