"""Numbers of text files read in bulk, held to Python's own reading, and numbers that print short and read back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FloatArray
from retinaface_cli.formats.text import decimal_boxes_xywh, number_words, parse_rows, read_lines, shortest_decimals

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9).map(
    lambda n: f"{n:f}"
)
FLOATS = st.floats().map(repr)
WRITTEN = st.sampled_from(["0", "-0", "-1.0", "007", "5.", ".5", "-.5", "+3", "1e3", "nan", "123456789012345678"])
PATH = Path("x.txt")


@given(rows=st.lists(st.lists(st.one_of(DECIMALS, FLOATS, WRITTEN), max_size=6), max_size=6))
def test_every_word_is_read_as_python_reads_it(rows: list[list[str]]) -> None:
    values, counts = parse_rows(list(enumerate(map("  ".join, rows), 1)), PATH)
    np.testing.assert_array_equal(values, [float(word) for row in rows for word in row])
    assert counts.tolist() == [len(row) for row in rows]


@pytest.mark.parametrize("word", ["-", ".", "1.2.3", "--1", "1-", "1,5", "0x10", "1_0", "\u0663", "x" * 60, "1\x002"])
def test_a_word_that_is_no_number_is_named_with_its_line(word: str) -> None:
    with pytest.raises(LabelFormatError, match=r"x\.txt:2: expected a number, got '"):
        parse_rows([(1, "1 2"), (2, f"3 {word} 4")], PATH)


def test_lines_end_with_a_line_feed_alone_and_tabs_part_words(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_bytes(b"# 1 a\n1 2\n\n b\x0c \n 3\t-4.5\r\n")
    lines = read_lines(tmp_path / "x.txt")
    assert lines == ["# 1 a", "1 2", "", " b\x0c ", " 3\t-4.5"]
    values, counts = parse_rows([(2, lines[1]), (5, lines[4])], PATH)
    assert (values.tolist(), counts.tolist()) == ([1, 2, 3, -4.5], [2, 2])


@pytest.mark.parametrize("text", ["", "\n", "  \n \n"])
def test_a_file_without_words_has_no_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(text)
    values, counts = parse_rows(list(enumerate(read_lines(tmp_path / "x.txt"), 1)), PATH)
    assert (len(values), set(counts.tolist())) == (0, {0})


@pytest.mark.parametrize("text", ["58.393", "0", "-1.5", "8717.123", "0.1", "1024.0005", "1e-7", "16777217"])
def test_a_number_prints_as_it_was_written(text: str) -> None:
    values = np.array([float(text)], np.float32)
    assert shortest_decimals(values)[0] == float(str(values[0]))
    assert len(number_words(shortest_decimals(values))[0]) <= max(len(text), len(str(values[0])))


@given(values=arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_float32_reads_back_the_same(values: FloatArray) -> None:
    for words in (number_words(values), number_words(shortest_decimals(values))):
        np.testing.assert_array_equal(np.array([float(word) for word in words], np.float32), values)


def test_nan_stays_nan_and_whole_numbers_have_no_point() -> None:
    assert np.isnan(shortest_decimals(np.array([np.nan], np.float32))).all()
    assert number_words(np.array([[10.0, 0.25], [100.0, -3.0]])) == ["10", "0.25", "100", "-3"]
    assert number_words(np.array([np.nan, 1.5])) == ["", "1.5"]
    assert number_words(np.zeros(0)) == []


@given(corners=arrays(np.float32, (20, 2, 2), elements=st.floats(0, 20_000, width=32)))
def test_corner_and_size_give_the_same_box_again(corners: FloatArray) -> None:
    boxes = np.sort(corners, axis=1).reshape(-1, 4)
    values = np.array([float(word) for word in number_words(decimal_boxes_xywh(boxes))]).reshape(-1, 4)
    values[:, 2:] += values[:, :2]
    np.testing.assert_array_equal(values.astype(np.float32), boxes)


def test_sizes_of_decimal_boxes_print_short() -> None:
    boxes = np.array([[58.393, 10.1, 78.493, 30.4]], np.float32)
    assert number_words(decimal_boxes_xywh(boxes)) == ["58.393", "10.1", "20.1", "20.3"]
