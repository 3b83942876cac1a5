"""Prediction files: round trips, what old tools write, errors with their place."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from retinaface_cli.errors import LabelFormatError, RetinaFaceError
from retinaface_cli.faces import FaceDetections, ImageDetections
from retinaface_cli.formats import (
    FaceTable,
    PredictionFormat,
    prediction_lines,
    read_label_files,
    read_predictions,
    write_predictions,
)

LANDMARKS = [[12.5, 22.25], [18.0, 22.0], [15.0, 26.0], [12.0, 31.5], [18.125, 31.0]]
FORMATS: tuple[tuple[PredictionFormat, str], ...] = (
    ("json", "p.json"),
    ("jsonl", "p.jsonl"),
    ("coco", "p.json"),
    ("wider", "p"),
    ("csv", "p.csv"),
)


def two_faces(file_name: str = "a/x.jpg") -> ImageDetections:
    landmarks = np.full((2, 5, 2), np.nan, np.float32)
    landmarks[0] = LANDMARKS
    landmarks[0, 3] = np.nan
    boxes = np.array([[10, 20, 20.1234567, 35.5], [-3.25, 0, 4, 9]], np.float32)
    return ImageDetections(file_name, FaceDetections(boxes, landmarks, np.array([0.9, 0.1], np.float32)), 640, 480)


def read_images(path: Path) -> list[ImageDetections]:
    return read_predictions(path).detection_images()


def write_images(path: Path, images: Sequence[ImageDetections], *, format_name: PredictionFormat) -> None:
    write_predictions(path, FaceTable.from_images(images), format_name=format_name)


def to_json(image: ImageDetections) -> dict[str, object]:
    (line,) = prediction_lines(FaceTable.from_images([image]))
    content: dict[str, object] = json.loads(line)
    return content


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def face(score: object = 0.5, **changes: object) -> dict[str, object]:
    return {"bbox": [1, 2, 3, 4], "score": score, "landmarks": []} | changes


def test_a_image_becomes_the_documented_object() -> None:
    assert to_json(two_faces()) == {
        "file_name": "a/x.jpg",
        "file_path": "a/x.jpg",
        "width": 640,
        "height": 480,
        "annotations": [
            {
                "bbox": [10.0, 20.0, 20.123, 35.5],
                "score": 0.9,
                "landmarks": [[12.5, 22.25], [18.0, 22.0], [15.0, 26.0], [-1.0, -1.0], [18.125, 31.0]],
            },
            {"bbox": [-3.25, 0.0, 4.0, 9.0], "score": 0.1, "landmarks": []},
        ],
    }


def test_a_image_without_faces_has_an_empty_list_and_no_unknown_keys() -> None:
    empty = ImageDetections("x.jpg", FaceDetections.empty())
    assert to_json(empty) == {"file_name": "x.jpg", "file_path": "x.jpg", "annotations": []}


@pytest.mark.parametrize(("format_name", "name"), FORMATS)
def test_what_is_written_reads_back(tmp_path: Path, format_name: PredictionFormat, name: str) -> None:
    images = [two_faces("a/x.jpg"), two_faces("b/x.jpg"), ImageDetections("é ü/17.png", FaceDetections.empty())]
    write_images(tmp_path / name, images, format_name=format_name)
    read = read_images(tmp_path / name)
    expected = images[:2] if format_name == "coco" else images
    assert [image.file_name for image in read] == [image.file_name for image in expected]
    for got, wanted in zip(read, expected, strict=True):
        np.testing.assert_allclose(got.faces.boxes, wanted.faces.boxes, atol=1.1e-3)
        np.testing.assert_array_equal(got.faces.scores, wanted.faces.scores)
        if format_name != "wider":
            np.testing.assert_array_equal(got.faces.landmarks, wanted.faces.landmarks)
    if format_name in ("json", "jsonl", "csv"):
        assert (read[0].width, read[0].height) == (640, 480)


@pytest.mark.parametrize(("format_name", "name"), FORMATS)
def test_no_images_make_a_whole_file(tmp_path: Path, format_name: PredictionFormat, name: str) -> None:
    write_predictions(tmp_path / name, FaceTable.from_detections([], []), format_name=format_name)
    assert (tmp_path / name).exists()
    if format_name in ("json", "coco", "csv"):
        assert len(read_predictions(tmp_path / name)) == 0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, width=32), max_size=20))
def test_any_float32_score_survives_json(scores: list[float]) -> None:
    ordered = np.sort(np.array(scores, np.float32))[::-1]
    faces = FaceDetections(np.zeros((len(ordered), 4), np.float32), np.zeros((len(ordered), 5, 2), np.float32), ordered)
    line = prediction_lines(FaceTable.from_images([ImageDetections("x", faces)]))[0]
    back = np.array([a["score"] for a in json.loads(line)["annotations"]], np.float32)
    np.testing.assert_array_equal(back, ordered)


def test_wider_files_hold_x_y_w_h_and_images_of_one_stem_stay_apart(tmp_path: Path) -> None:
    images = [two_faces("0--Parade/x.jpg"), two_faces("0--Parade/x.png")]
    write_images(tmp_path / "out", images, format_name="wider")
    text = (tmp_path / "out/0--Parade/x.txt").read_text()
    assert text == "0--Parade/x.jpg\n2\n10 20 10.123 15.5 0.9\n-3.25 0 7.25 9 0.1\n"
    assert [image.file_name for image in read_images(tmp_path / "out")] == ["0--Parade/x.png", "0--Parade/x.jpg"]


def test_files_of_one_image_each_are_read_together_as_one_by_one(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{name}.json", to_json(two_faces(name))) for name in ("b.jpg", "a.jpg")]
    together = read_label_files(paths)
    assert together.file_names == ["b.jpg", "a.jpg"]
    for image, path in zip(together.detection_images(), paths, strict=True):
        (alone,) = read_images(path)
        assert to_json(image) == to_json(alone)
    assert read_label_files([]).file_names == []
    with pytest.raises(LabelFormatError, match="absent"):
        read_label_files([*paths, tmp_path / "absent.json"])


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path) -> None:
    write(tmp_path / "photo.jpg", "")
    with pytest.raises(RetinaFaceError, match=r"photo\.jpg"):
        write_images(tmp_path, [two_faces()], format_name="wider")
    assert (tmp_path / "photo.jpg").exists()


def test_text_files_of_the_old_test_script_are_read(tmp_path: Path) -> None:
    (tmp_path / "0--Parade").mkdir()
    write(tmp_path / "0--Parade/0_Parade_1.txt", "0_Parade_1\n2\n10 20 30 40 0.25 \n1 2 3 4 0.5 \n")
    write(tmp_path / "0--Parade/0_Parade_2.txt", "0_Parade_2\n0\n0 0 0 0 0\n")
    first, second = read_images(tmp_path)
    assert (first.file_name, second.file_name) == ("0--Parade/0_Parade_1", "0--Parade/0_Parade_2")
    assert first.faces.boxes.tolist() == [[1, 2, 4, 6], [10, 20, 40, 60]]
    assert first.faces.scores.tolist() == [0.5, 0.25]
    assert len(second.faces) == 0


def test_files_of_the_old_lightning_script_are_read_with_their_folder(tmp_path: Path) -> None:
    (tmp_path / "labels/party").mkdir(parents=True)
    old = {"file_name": "a.jpg", "annotations": [face(landmarks=LANDMARKS)], "file_path": "party/a.jpg"}
    (tmp_path / "labels/party/a.json").write_text(json.dumps(old, indent=2))
    (image,) = read_images(tmp_path)
    assert image.file_name == "party/a.jpg"
    np.testing.assert_array_equal(image.faces.landmarks[0], np.array(LANDMARKS, np.float32))


def test_the_old_sign_of_no_face_is_no_face(tmp_path: Path) -> None:
    sign = {"bbox": [], "score": -1, "landmarks": []}
    path = write(tmp_path / "p.json", [{"file_name": "a.jpg", "annotations": [sign]}])
    assert len(read_images(path)[0].faces) == 0


def test_coco_results_are_grouped_by_their_id(tmp_path: Path) -> None:
    results = [
        {"image_id": 7, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.2},
        {"image_id": 8, "category_id": 1, "bbox": [0, 0, 1, 1], "score": 0.3},
        {"image_id": 7, "category_id": 1, "bbox": [5, 5, 1, 1], "score": 0.9},
    ]
    path = write(tmp_path / "p.json", json.dumps(results, indent=1))
    seven, eight = read_images(path)
    assert (seven.file_name, eight.file_name) == ("7", "8")
    assert seven.faces.boxes.tolist() == [[5, 5, 6, 6], [1, 2, 4, 6]]


def test_faces_are_sorted_by_score_and_equal_scores_keep_their_order(tmp_path: Path) -> None:
    faces = [face(0.5, bbox=[0, 0, 1, 1]), face(0.9), face(0.5, bbox=[0, 0, 2, 2])]
    path = write(tmp_path / "p.json", [{"file_name": "a.jpg", "annotations": faces}])
    assert read_images(path)[0].faces.boxes[:, 2].tolist() == [3, 1, 2]


BROKEN_JSON: tuple[tuple[object, str], ...] = (
    ("", r"empty"),
    ("   \n", r"empty"),
    ('[\n{"file_name": "a", "annotations": []},\n', r":3: not JSON"),
    ('[\n{"file_name": "a", "annotations": []},\n{"file_na', r":3: not JSON"),
    ("[1, 2", "not JSON"),
    ("17", r"expected a \.json, \.jsonl or \.csv file"),
    ([17], "image 1: expected an image with file_name and annotations, got 17"),
    ([{"file_name": "a"}], "expected a list of annotations, got None"),
    ([{"file_name": "", "annotations": []}], "expected the name of an image"),
    ([{"file_name": "a\x1b[31m", "annotations": []}], r"expected the name of an image on one line .* got 'a\\x1b"),
    ([{"file_name": "a", "annotations": [17]}], "expected a list of annotations"),
    (
        [{"file_name": "a", "annotations": [face(), {"bbox": [1, 2, 3, 4]}]}],
        "face 2: score: expected a number; labels",
    ),
    ([{"file_name": "a", "annotations": [{"score": 1}]}], "face 1: bbox: expected 4 box numbers"),
    (
        [{"file_name": "a", "annotations": [face(), face(bbox=[1, 2, 3])]}],
        "face 2: bbox: expected 4 box numbers, got 3",
    ),
    (
        [{"file_name": "a", "annotations": [face(bbox=[1, 2, 3, None])]}],
        r"face 1: bbox: expected 4 box numbers, got \[1, 2, 3, None\]",
    ),
    ([{"file_name": "a", "annotations": [face(score=87.5)]}], r"score 87.5 is outside \[0, 1\]"),
    ([{"file_name": "a", "annotations": [face(score=float("nan"))]}], "not finite"),
    ([{"file_name": "a", "annotations": [face(score="high")]}], "face 1: score: expected a number.* got 'high'"),
    (
        [{"file_name": "a", "annotations": [face(), face(landmarks=[[1, 2]])]}],
        "face 2: landmarks: expected no landmarks or 5 pairs x, y",
    ),
    ([{"file_name": "a", "annotations": [], "width": -1, "height": 3}], "width and height"),
    ([{"file_name": "a", "annotations": []}] * 2, "appears a second time"),
    ([{"image_id": 3, "category_id": 1, "score": 0.5}], "expected bbox and score"),
    ([{"image_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5, "keypoints": [1, 2]}], "15 keypoint numbers"),
    ([{"file_name": "a", "annotations": []}, {"image_id": 3, "bbox": [1, 2, 3, 4], "score": 0.5}], "mixes"),
)


@pytest.mark.parametrize(("content", "message"), BROKEN_JSON)
def test_broken_json_is_one_error_with_its_place(tmp_path: Path, content: object, message: str) -> None:
    with pytest.raises(LabelFormatError, match=message) as caught:
        read_images(write(tmp_path / "p.json", content))
    assert str(caught.value).startswith(str(tmp_path / "p.json"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"x\.txt:1: expected a name"),
        ("x\nmany\n", r"x\.txt:2: expected the number of faces, got 'many'"),
        ("x\n2\n1 2 3 4 0.5\n", r"x\.txt:2: expected 2 faces, got 1"),
        ("x\n2\n1 2 3 4 0.5\n1 2 3 4\n", r"x\.txt:4: expected 5 numbers \(x y w h score\), got 4"),
        ("x\n1\n1 2 three 4 0.5\n", r"x\.txt:3: expected a number"),
        ("x\n1\n1 2 3 4 2.5\n", r"score 2.5 is outside"),
    ],
)
def test_broken_wider_files_are_one_error_with_their_line(tmp_path: Path, text: str, message: str) -> None:
    write(tmp_path / "x.txt", text)
    with pytest.raises(LabelFormatError, match=message):
        read_images(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"p\.csv: the file is empty"),
        ("file_name,x_min,y_min,x_max,y_max\n", r"expected a column score"),
        ("file_name,x_min,y_min,x_max,y_max,score\na,1,2,3,x,0.5\n", r"p\.csv:2: expected a box number"),
        ("file_name,x_min,y_min,x_max,y_max,score\n,1,2,3,4,0.5\n", r"p\.csv:2: expected the name of an image"),
    ],
)
def test_broken_csv_is_one_error_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(LabelFormatError, match=message):
        read_images(write(tmp_path / "p.csv", text))


def test_a_missing_file_and_a_folder_without_predictions_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match="no such file"):
        read_images(tmp_path / "none.json")
    with pytest.raises(LabelFormatError, match="holds no predictions"):
        read_images(tmp_path)
    with pytest.raises(LabelFormatError, match=r"expected a \.json"):
        read_images(write(tmp_path / "p.pkl", "x"))


@pytest.mark.parametrize("number", ["35.5", "22.25"])  # of a box, of a landmark
def test_numbers_beyond_32_bits_are_refused(tmp_path: Path, number: str) -> None:
    path = tmp_path / "p.jsonl"
    write_images(path, [two_faces("a.jpg")], format_name="jsonl")
    path.write_text(path.read_text(encoding="utf-8").replace(number, "2e124", 1), encoding="utf-8")
    with pytest.raises(LabelFormatError, match=r"p\.jsonl:1: .* too large"):
        read_images(path)


@settings(max_examples=60, deadline=None)
@example(cut=92, byte=101)
@given(cut=st.integers(0, 400), byte=st.integers(0, 255))
def test_a_wrong_byte_or_a_cut_gives_an_error_or_valid_faces(
    tmp_path_factory: pytest.TempPathFactory, cut: int, byte: int
) -> None:
    folder = tmp_path_factory.mktemp("broken")
    for format_name, name in FORMATS:
        if format_name == "wider":
            continue
        path = folder / name
        write_images(path, [two_faces("a.jpg"), two_faces("b.jpg")], format_name=format_name)
        content = bytearray(path.read_bytes())
        content[min(cut, len(content) - 1)] = byte
        for broken in (bytes(content), path.read_bytes()[:cut]):
            path.write_bytes(broken)
            try:
                images = read_images(path)
            except LabelFormatError as error:
                assert str(path) in str(error)
                continue
            assert all(np.isfinite(image.faces.boxes).all() for image in images)
