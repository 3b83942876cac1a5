"""FDDB's ellipses."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import write_text


@pytest.mark.parametrize(
    ("angle", "wanted"),
    [
        (0.0, (80, 90, 120, 110)),
        (math.pi / 2, (90, 80, 110, 120)),
        (-math.pi, (80, 90, 120, 110)),
        (math.pi / 4, (100 - math.sqrt(250), 100 - math.sqrt(250), 100 + math.sqrt(250), 100 + math.sqrt(250))),
    ],
)
def test_the_box_is_the_smallest_that_holds_the_ellipse(
    angle: float, wanted: tuple[float, ...], tmp_path: Path
) -> None:
    path = write_text(tmp_path / "x.txt", f"2002/img_1\n1\n20 10 {angle} 100 100  1\n")
    labels = read_labels(path)
    assert labels.format_name == "fddb"
    assert labels.label_images()[0].file_name == "2002/img_1.jpg"
    np.testing.assert_allclose(labels.label_images()[0].faces.boxes, [wanted], rtol=1e-6)


def test_all_lists_of_a_folder_are_read(tmp_path: Path) -> None:
    for i in (1, 2):
        write_text(tmp_path / f"FDDB-fold-0{i}-ellipseList.txt", f"img_{i}\n1\n20 10 0 100 100  1\n")
    write_text(tmp_path / "FDDB-fold-01.txt", "img_1\nimg_2\n")
    assert [image.file_name for image in read_labels(tmp_path).label_images()] == ["img_1.jpg", "img_2.jpg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a\n1\n20 10 0 100\n", ":3: expected 5 ellipse numbers and a 1, got 4"),
        ("a\n2\n20 10 0 100 100 1\n", ":2: expected 2 faces, got 1: the file is cut off"),
        ("a\nb\n", ":2: expected the number of faces, got 'b'"),
        ("a\n1\n20 10 nan 100 100 1\n", ":3: expected an angle in radians, got 'nan'"),
        ("a\n", ":1: expected a line with the number of faces behind 'a'"),
    ],
)
def test_broken_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.txt", text)
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, format_name="fddb")
    assert str(caught.value) == f"{path}{message}"
