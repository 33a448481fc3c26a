from __future__ import annotations

from pathlib import Path

import pytest

from tests.builders.picture_files import save_json, save_text
from training.errors import DatasetError
from training.readers.jsonfile import Node, read_json, read_json_lines


def test_a_value_is_named_by_its_path(tmp_path: Path) -> None:
    tree = read_json(save_json(tmp_path / "a.json", {"images": [{"id": 1}, {}]}))
    good, bad = tree.items("images")

    assert good.member("id").identifier() == "1"
    with pytest.raises(DatasetError, match=r"^a\.json\.images\[1\]: no id$"):
        bad.member("id")


def test_members_are_numbered_since_keys_may_name_patients(tmp_path: Path) -> None:
    tree = read_json(save_json(tmp_path / "a.json", {"John Doe": "x"}))
    ((key, node),) = tree.members()

    assert key == "John Doe"
    with pytest.raises(DatasetError) as caught:
        node.number()
    assert "John" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "ask"),
    [
        ("x", Node.number),
        (True, Node.number),
        (float("inf"), Node.number),
        (1.5, Node.integer),
        ("", Node.text),
        (1, Node.text),
        (None, Node.identifier),
        ({}, Node.items),
        ([], lambda node: list(node.members())),
        ([], lambda node: node.member("a")),
        ([1, 2], lambda node: node.numbers(4)),
        ([1, "2"], lambda node: node.numbers(2)),
        ({"a": "b"}, lambda node: node.items("a")),
    ],
)
def test_a_value_of_another_kind_is_refused(value: object, ask: object) -> None:
    with pytest.raises(DatasetError, match=r"^here"):
        ask(Node(value, "here"))  # type: ignore[operator]


def test_null_and_absent_members_are_the_same() -> None:
    node = Node({"a": None}, "here")

    assert "a" not in node
    assert "b" not in node
    assert node.items("a") == node.items("b") == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a":\n 1,,}', r"a\.json, line 2"),
        (b"\xff", "byte 0 is not UTF-8"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_what_is_no_json_is_refused(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)

    with pytest.raises(DatasetError, match=message):
        read_json(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"a\.json cannot be read: No such file"):
        read_json(tmp_path / "a.json")
    with pytest.raises(DatasetError, match=r"a\.jsonl cannot be read"):
        list(read_json_lines(tmp_path / "a.jsonl"))


def test_lines_are_read_one_by_one_and_named(tmp_path: Path) -> None:
    path = save_text(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2}\n{"a"\n')
    lines = read_json_lines(path)

    assert next(lines).member("a").integer() == 1
    assert next(lines).place == "a.jsonl, line 3"
    with pytest.raises(DatasetError, match=r"a\.jsonl, line 4: not JSON"):
        next(lines)
