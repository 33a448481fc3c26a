from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.builders.picture_files import save_text
from training.errors import DatasetError
from training.readers import json_stream
from training.readers.json_stream import stream_members

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(max_examples=50)
@given(
    st.dictionaries(st.text(), VALUES, max_size=6),
    st.sampled_from([None, 0, 3]),
    st.integers(1, 40),
)
def test_members_come_as_a_whole_parse_gives_them_whatever_the_chunks(
    value: dict[str, object], indent: int | None, chunk: int
) -> None:
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        path = Path(folder) / "a.json"
        path.write_text(f" {text}\n", encoding="utf-8", errors="surrogatepass")
        patch.setattr(json_stream, "_CHUNK", chunk)

        try:
            text.encode()
        except UnicodeEncodeError:
            with pytest.raises(DatasetError):
                list(stream_members(path))
            return
        members = [(key, node.value) for key, node in stream_members(path)]

    # Compared as text, since 1 == 1.0 == True.
    assert json.dumps(dict(members)) == json.dumps(json.loads(text))
    assert [key for key, _ in members] == list(value)


@pytest.mark.parametrize("number", ["0.5", "-12", "1e3", "1.25E+2", "3e-1", "-0.0"])
@pytest.mark.parametrize("chunk", [1, 2, 3])
def test_a_number_may_lie_across_chunks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: str, chunk: int
) -> None:
    path = save_text(tmp_path / "a.json", f'{{"a":{number},"b":[{number}]}}')
    monkeypatch.setattr(json_stream, "_CHUNK", chunk)

    values = [node.value for _, node in stream_members(path)]

    assert values == [float(number), [float(number)]]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{",
        '{"a"',
        '{"a":',
        '{"a":1',
        '{"a":1,',
        '{"a":1,}',
        '{"a" 1}',
        '{"a":1 "b":2}',
        '{"a":1} x',
        "{1:2}",
        '{"a":x}',
        '{"a":' + "[" * 100_000,
    ],
)
def test_what_is_not_one_object_is_refused(tmp_path: Path, text: str) -> None:
    path = save_text(tmp_path / "a.json", text)

    with pytest.raises(DatasetError, match=r"^a\.json, after member \d: "):
        list(stream_members(path))


def test_a_member_is_counted_and_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = save_text(tmp_path / "a.json", '{"x": 1, "y": 2}')

    assert [n.place for _, n in stream_members(path)] == [
        "a.json, member 1",
        "a.json, member 2",
    ]
    with pytest.raises(DatasetError, match="cannot be read"):
        list(stream_members(tmp_path / "none.json"))


def test_memory_does_not_grow_with_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_stream, "_CHUNK", 1 << 12)
    peaks = []
    for count in (400, 4_000):
        members = ",".join(f'"image-{n}": ["{"m" * 40}"]' for n in range(count))
        path = save_text(tmp_path / f"{count}.json", "{" + members + "}")
        del members
        tracemalloc.start()
        assert sum(1 for _ in stream_members(path)) == count
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()

    assert peaks[1] < 1.5 * peaks[0]
    assert peaks[1] < (tmp_path / "4000.json").stat().st_size
