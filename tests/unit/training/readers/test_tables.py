from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.picture_files import save_text
from training.errors import DatasetError
from training.readers.tables import read_lines, read_table


def test_columns_are_found_without_regard_to_case_and_spaces(tmp_path: Path) -> None:
    path = save_text(tmp_path / "t.csv", "rad_ID, EncodedPixels\nR1, -1\n")

    (row,) = read_table(path, required=("rad_id",))

    assert row.text("rad_id") == "R1"
    assert row.cell("EncodedPixels") == "-1"
    assert "RAD_ID" in row
    assert "other" not in row


def test_a_byte_order_mark_is_no_part_of_the_first_name(tmp_path: Path) -> None:
    path = save_text(tmp_path / "t.csv", "\ufeffimage_id,x\na,1\n")

    (row,) = read_table(path, required=("image_id",))

    assert row.text("image_id") == "a"


def test_lines_are_counted_through_empty_and_quoted_ones(tmp_path: Path) -> None:
    path = save_text(tmp_path / "t.csv", 'a,b\n\n1,"two\nlines"\n\n3,4\n')

    rows = list(read_table(path))

    assert [row.line for row in rows] == [4, 6]
    assert rows[0].text("b") == "two\nlines"


@pytest.mark.parametrize("cell", ["", "nan", "NaN", " NULL ", "N/A"])
def test_an_empty_cell_is_no_number(tmp_path: Path, cell: str) -> None:
    path = save_text(tmp_path / "t.csv", f"a,b\n{cell},1\n")

    (row,) = read_table(path)

    assert row.number_or_none("a") is None
    with pytest.raises(DatasetError, match=r"t\.csv, line 2: no a"):
        row.number("a")
    with pytest.raises(DatasetError, match=r"t\.csv, line 2: no a"):
        row.text("a")


@pytest.mark.parametrize("cell", ["John Doe", "1,5", "inf", "-inf", "1e999"])
def test_a_wrong_number_is_named_by_line_and_not_quoted(
    tmp_path: Path, cell: str
) -> None:
    path = save_text(tmp_path / "t.csv", f'a\n"{cell}"\n')
    (row,) = read_table(path)

    with pytest.raises(DatasetError, match=r"t\.csv, line 2: a is not") as caught:
        row.number("a")

    assert cell not in str(caught.value)


def test_a_whole_number_may_be_written_as_a_float(tmp_path: Path) -> None:
    path = save_text(tmp_path / "t.csv", "a,b\n1.0,1.5\n")
    (row,) = read_table(path)

    assert row.integer("a") == 1
    with pytest.raises(DatasetError, match="b is not a whole number"):
        row.integer("b")


def test_a_short_line_and_an_unknown_column_are_refused(tmp_path: Path) -> None:
    path = save_text(tmp_path / "t.csv", "a,b\n1\n")
    (row,) = read_table(path)

    with pytest.raises(DatasetError, match="line 2: no b"):
        row.text("b")
    with pytest.raises(DatasetError, match="the table has no column c"):
        row.cell("c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the table is empty"),
        (b"a,c\n", r"line 1: no column b"),
        (b"a,b\n\xff,1\n", "byte 4 is not UTF-8"),
        (b'a,b\n"x" y,1\n', "line 2"),
    ],
)
def test_what_is_no_table_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes(content)

    with pytest.raises(DatasetError, match=message):
        list(read_table(path, required=("a", "b")))


def test_a_missing_table_or_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"none\.csv cannot be read: No such file"):
        list(read_table(tmp_path / "none.csv"))
    with pytest.raises(DatasetError, match=r"none\.txt cannot be read: No such file"):
        read_lines(tmp_path / "none.txt")


def test_a_list_has_one_name_a_line(tmp_path: Path) -> None:
    path = save_text(tmp_path / "l.txt", "a.png\r\n\r\n b.png \n")

    assert read_lines(path) == ["a.png", "b.png"]
