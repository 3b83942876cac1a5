from __future__ import annotations

import numpy as np
import pytest

from retinaface_cli.visualization.text import paint, shorten, text_mask, trimmed


@pytest.mark.parametrize("height", [8, 13, 40])
def test_digits_have_the_height_that_is_asked_for(height: int) -> None:
    assert trimmed(text_mask("0.98", height)).shape[0] == pytest.approx(height, abs=1 + 0.03 * height)


def test_a_longer_text_is_wider() -> None:
    assert text_mask("0.98765", 12).shape[1] > text_mask("0.98", 12).shape[1]


def test_letters_of_other_scripts_have_ink() -> None:
    assert text_mask("Žофия", 12).any()
    assert not text_mask("", 12).any()
    assert trimmed(text_mask("", 12)).shape[0] == 0


def test_a_text_that_fits_is_not_shortened() -> None:
    assert shorten("short.jpg", 500, digit_height=10) == "short.jpg"


def test_a_text_that_is_too_long_loses_its_middle() -> None:
    text = "a-very-long-folder/a-very-long-name-of-a-image.jpg"
    short = shorten(text, 150, digit_height=10)
    start, end = short.split("…")
    assert text.startswith(start)
    assert text.endswith(end)
    assert len(end) > len(start) > 0
    assert 120 < text_mask(short, 10).shape[1] <= 151
    assert shorten(text, 1, digit_height=10) == "…"


def test_paint_mixes_by_the_mask_and_cuts_off_what_is_outside() -> None:
    canvas = np.zeros((4, 4, 3), np.uint8)
    mask = np.array([[255, 128], [0, 255]], np.uint8)
    paint(canvas, mask, left=3, top=-1, color=(200, 100, 0))
    assert canvas[0, 3].tolist() == [0, 0, 0]  # the mask's second row, first column
    paint(canvas, mask, left=1, top=2, color=(200, 100, 0))
    assert canvas[2, 1].tolist() == [200, 100, 0]
    assert canvas[2, 2].tolist() == [100, 50, 0]
    assert canvas[3, 2].tolist() == [200, 100, 0]
    paint(canvas, mask, left=50, top=50, color=(1, 1, 1))
    assert canvas.sum() == 300 + 150 + 300
