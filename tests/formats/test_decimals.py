"""Numbers that print short and read back the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from retinaface_cli.formats.decimals import decimal_boxes_xywh, number_words, shortest_decimals


@pytest.mark.parametrize("text", ["58.393", "0", "-1.5", "8717.123", "0.1", "1024.0005", "1e-7", "16777217"])
def test_a_number_prints_as_it_was_written(text: str) -> None:
    values = np.array([float(text)], np.float32)
    assert shortest_decimals(values)[0] == float(str(values[0]))
    assert len(number_words(shortest_decimals(values))[0]) <= max(len(text), len(str(values[0])))


@given(values=arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False, allow_infinity=False)))
def test_every_float32_reads_back_the_same(values: np.ndarray[tuple[int], np.dtype[np.float32]]) -> None:
    words = number_words(shortest_decimals(values))
    np.testing.assert_array_equal(np.array([float(word) for word in words], np.float32), values)


def test_nan_stays_nan_and_whole_numbers_have_no_point() -> None:
    assert np.isnan(shortest_decimals(np.array([np.nan], np.float32))).all()
    assert number_words(np.array([[10.0, 0.25], [100.0, -3.0]])) == ["10", "0.25", "100", "-3"]
    assert number_words(np.zeros(0)) == []


@given(
    corners=arrays(np.float32, (20, 2, 2), elements=st.floats(0, 20_000, width=32)),
)
def test_corner_and_size_give_the_same_box_again(corners: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    boxes = np.sort(corners, axis=1).reshape(-1, 4)
    values = np.array([float(word) for word in number_words(decimal_boxes_xywh(boxes))]).reshape(-1, 4)
    values[:, 2:] += values[:, :2]
    np.testing.assert_array_equal(values.astype(np.float32), boxes)


def test_sizes_of_decimal_boxes_print_short() -> None:
    boxes = np.array([[58.393, 10.1, 78.493, 30.4]], np.float32)
    assert number_words(decimal_boxes_xywh(boxes)) == ["58.393", "10.1", "20.1", "20.3"]
