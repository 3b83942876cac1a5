"""Numbers of text files read in bulk, held to Python's own reading of each word."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.text_lines import read_lines, read_numbers

DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9).map(
    lambda n: f"{n:f}"
)
FLOATS = st.floats().map(repr)
WRITTEN = st.sampled_from(["0", "-0", "-1.0", "007", "5.", ".5", "-.5", "+3", "1e3", "nan", "123456789012345678"])


@given(rows=st.lists(st.lists(st.one_of(DECIMALS, FLOATS, WRITTEN), max_size=6), max_size=6))
def test_every_word_is_read_as_python_reads_it(rows: list[list[str]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.txt"
        path.write_text("\n".join("  ".join(row) for row in rows), encoding="ascii")
        lines = read_lines(path)
        values = read_numbers(lines, np.ones(len(lines), np.bool_))
    np.testing.assert_array_equal(values, [float(word) for row in rows for word in row])


def test_lines_that_are_not_selected_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("# 1 a\n1 2\n\n b \n 3\t-4.5\r\n")
    lines = read_lines(tmp_path / "x.txt")
    assert lines.num_words.tolist() == [3, 2, 0, 1, 2]
    assert lines.begins_with("#").tolist() == [True, False, False, False, False]
    selected = np.array([False, True, False, False, True])
    assert read_numbers(lines, selected).tolist() == [1, 2, 3, -4.5]
    assert lines.text(3) == "b"
    assert lines.place(3) == f"{tmp_path / 'x.txt'}:4"


@pytest.mark.parametrize("word", ["-", ".", "1.2.3", "--1", "1-", "1,5", "0x10", "1_0", "\u0663", "x" * 60, "1\x002"])
def test_a_word_that_is_no_number_is_named_with_its_line(word: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(f"1 2\n3 {word} 4\n", encoding="utf-8")
    lines = read_lines(tmp_path / "x.txt")
    with pytest.raises(LabelFormatError, match=r"x\.txt:2: expected a number, got '"):
        read_numbers(lines, np.ones(len(lines), np.bool_))


@pytest.mark.parametrize("text", ["", "\n", "  \n \n"])
def test_a_file_without_words_has_no_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text(text)
    lines = read_lines(tmp_path / "x.txt")
    assert len(lines) == text.count("\n")
    assert len(read_numbers(lines, np.ones(len(lines), np.bool_))) == 0
