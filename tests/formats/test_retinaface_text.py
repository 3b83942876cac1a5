"""RetinaFace's label.txt and SCRFD's labelv2.txt."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import write_text

FIVE = "1 2 0 3 4 1 5 6 0 7 8 0 9 10 1"


def read(path: Path, text: str, format_name: str = "retinaface") -> list[list[float]]:
    labels = read_labels(write_text(path / "labels.txt", text), format_name=format_name)
    return [box for image in labels.label_images() for box in image.faces.boxes.tolist()]


def test_lines_without_landmarks_are_boxes(tmp_path: Path) -> None:
    assert read(tmp_path, "# a.jpg\n10 20 5 6\n0 0 1.5 2\n# b.jpg\n3 3 3 3\n") == [
        [10, 20, 15, 26],
        [0, 0, 1.5, 2],
        [3, 3, 6, 6],
    ]


def test_flags_and_blur_become_attributes_and_minus_one_is_missing(tmp_path: Path) -> None:
    missing = " ".join(["-1 -1 -1"] * 5)
    partly = FIVE.replace("5 6 0", "-1.0 -1.0 -1.0")
    text = f"# a.jpg\n0 0 20 20 {FIVE} 0.5\n0 0 20 20 {missing} -1\n0 0 20 20 {partly}\n0 0 9 9\n"
    faces = read_labels(write_text(tmp_path / "label.txt", text)).label_images()[0].faces
    np.testing.assert_array_equal(faces.has_landmarks.sum(axis=1), [5, 0, 4, 0])
    np.testing.assert_array_equal(faces.landmarks[0], [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]])
    assert not faces.has_landmarks[2, 2]
    np.testing.assert_array_equal(faces.attributes["landmark_blur"], [0.5, np.nan, np.nan, np.nan])
    np.testing.assert_array_equal(faces.attributes["occluded_landmarks"], [2 + 16, np.nan, 2 + 16, np.nan])


@pytest.mark.parametrize(
    "text",
    [
        "#a b.jpg\r\n1 2 3 4\r\n",
        "\ufeff# a b.jpg\n\n1 2 3 4",
        "#   a b.jpg \n  1\t2 3.0 4e0 \n\n",
        "# ./a b.jpg\n1 2 3 4\n",
    ],
)
def test_spaces_line_ends_and_marks_at_the_start_do_not_matter(text: str, tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "label.txt", text), format_name="retinaface")
    assert [image.file_name for image in labels.label_images()] == ["a b.jpg"]
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, [[1, 2, 4, 6]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("# a.jpg\n1 2 3\n", ":2: expected 4 box numbers, got 3"),
        ("# a.jpg\n1 2 3 4 5\n", ":2: expected 4 box numbers alone, or with 5 x 3 landmark numbers"),
        ("# a.jpg\n1 2 3 4\n1 2 x 4\n", ":3: expected a number, got 'x'"),
        ("# a.jpg\n1 2 3 1_0\n", ":2: expected a number, got '1_0'"),
        ("# a.jpg\n1 2 3 \u0664\n", ":2: expected a number"),
        ("1 2 3 4\n# a.jpg\n", ":1: expected `# path` before the first face"),
        ("#  \n1 2 3 4\n", ":1: expected the name of an image"),
    ],
)
def test_broken_lines_are_named(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'labels.txt'}{message}")


def test_western_and_utf_16_text_is_read(tmp_path: Path) -> None:
    path = tmp_path / "label.txt"
    for encoding in ("cp1252", "utf-16"):
        path.write_text("# caf\u00e9.jpg\n1 2 3 4\n", encoding=encoding)
        labels = read_labels(path, format_name="retinaface")
        assert (list(labels.file_names), labels.boxes.tolist()) == (["caf\u00e9.jpg"], [[1, 2, 4, 6]])


def test_labelv2_holds_sizes_corners_and_ignored_faces(tmp_path: Path) -> None:
    text = f"# a.jpg 64 48\n1 2 11 22\n1 2 11 22 1\n1 2 11 22 {FIVE} 1\n1 2 11 22 {FIVE}\n"
    labels = read_labels(write_text(tmp_path / "labelv2.txt", text))
    image = labels.label_images()[0]
    assert (labels.format_name, image.file_name, image.width, image.height) == ("scrfd", "a.jpg", 64, 48)
    np.testing.assert_array_equal(image.faces.boxes, [[1, 2, 11, 22]] * 4)
    assert image.faces.ignore.tolist() == [False, True, True, False]


def test_labelv2_with_a_header_without_sizes_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match=r":2: expected `# path width height`, got 'b\.jpg'"):
        read(tmp_path, "# a.jpg 64 48\n# b.jpg\n", "scrfd")


@pytest.mark.shared
def test_all_wider_train_labels_are_read_with_every_digit(shared: Path) -> None:
    source = shared / "labels/wider_train_label.txt.gz"
    labels = read_labels(source)
    faces = [image.faces for image in labels.label_images()]
    assert (len(faces), sum(map(len, faces))) == (12_880, 159_423)
    assert sum(int(part.has_landmarks.all(axis=1).sum()) for part in faces) == 72_858
    assert sum(int((~part.has_landmarks.any(axis=1)).sum()) for part in faces) == 86_565
    lines = gzip.decompress(source.read_bytes()).decode().splitlines()
    rows = [line.split() for line in lines if not line.startswith("#")]
    flat = np.concatenate([part.landmarks.reshape(-1, 10) for part in faces])
    has = np.concatenate([part.has_landmarks[:, 0] for part in faces])
    for i in np.flatnonzero(has)[::97]:
        wanted = [rows[i][4 + 3 * k + axis] for k in range(5) for axis in range(2)]
        assert [float(str(value)) for value in flat[i]] == [float(word) for word in wanted]


@pytest.mark.shared
def test_faces_are_those_that_the_old_converter_made(shared: Path) -> None:
    wanted = json.loads((shared / "reference/ternaus_labels_sample.json").read_text(encoding="utf-8"))
    found = {
        image.file_name: image.faces for image in read_labels(shared / "labels/wider_train_label.txt.gz").label_images()
    }
    assert len(wanted) == 150
    for one_image in wanted:
        faces = found[one_image["file_name"]]
        assert faces.boxes.tolist() == [face["bbox"] for face in one_image["annotations"]]
        points = np.array([face["landmarks"] for face in one_image["annotations"]], np.float32)
        np.testing.assert_array_equal(np.where(faces.has_landmarks[..., None], faces.landmarks, -1), points)
