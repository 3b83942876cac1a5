"""Writing labels: what is read back is what was written, and nothing is lost in silence or by half."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import WRITERS, FaceTable, read_labels, write_labels
from retinaface_cli.formats.writing import format_of_output
from tests.formats.label_samples import write_png, write_text

OUTPUTS = {"json": "x.json", "jsonl": "x.jsonl", "coco": "x.json", "retinaface": "x.txt", "csv": "x.csv", "yolo": "x"}


def faces(count: int, *, seed: int = 0, ignored: bool = True) -> FaceLabels:
    """Random faces in an image of 640 x 480, with all kinds of landmarks."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.uniform(0, 1, (count, 2, 2)), axis=1) * [640, 480]
    corners[:, 1] += 1e-3
    boxes = np.minimum(corners, [640, 480]).reshape(-1, 4).astype(np.float32).round(rng.integers(0, 4))
    boxes[:, 2:] = np.maximum(boxes[:, 2:], boxes[:, :2] + np.float32(0.5)).clip(max=[640, 480])
    boxes[:, :2] = np.minimum(boxes[:, :2], boxes[:, 2:] - np.float32(0.25))
    places = np.array([[0.3, 0.3], [0.7, 0.3], [0.5, 0.5], [0.3, 0.7], [0.7, 0.7]])
    points = boxes[:, None, :2] + places * (boxes[:, None, 2:] - boxes[:, None, :2])
    has = np.repeat(rng.integers(0, 3, count)[:, None] > 0, 5, axis=1) & (rng.uniform(0, 1, (count, 5)) > 0.1)
    blur = np.where(rng.uniform(0, 1, count) > 0.3, rng.uniform(0, 1, count).round(2), np.nan)
    occluded = np.where(has.any(axis=1), (has @ (2 ** np.arange(5))) & rng.integers(0, 32, count), np.nan)
    return FaceLabels(
        boxes=boxes,
        landmarks=np.where(has[:, :, None], points, np.nan).astype(np.float32),
        has_landmarks=has,
        ignore=rng.uniform(0, 1, count) > 0.8 if ignored else np.zeros(count, np.bool_),
        attributes={"landmark_blur": blur.astype(np.float32), "occluded_landmarks": occluded.astype(np.float32)},
    )


def assert_same(found: FaceLabels, wanted: FaceLabels, *, attributes: tuple[str, ...] = ()) -> None:
    np.testing.assert_array_equal(found.boxes, wanted.boxes)
    np.testing.assert_array_equal(found.landmarks, wanted.landmarks)
    np.testing.assert_array_equal(found.has_landmarks, wanted.has_landmarks)
    np.testing.assert_array_equal(found.ignore, wanted.ignore)
    for name in attributes:
        missing = np.full(len(wanted), np.nan)
        np.testing.assert_array_equal(found.attributes.get(name, missing), wanted.attributes[name])


@pytest.mark.parametrize("format_name", OUTPUTS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 12))
def test_every_format_gives_back_what_it_can_hold(
    format_name: str, seed: int, count: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("round")
    images = [
        ImageLabels('e/a "1" é%s.png', faces(count, seed=seed), 640, 480),
        ImageLabels("b.png", FaceLabels.empty(), 640, 480),
    ]
    path = folder / OUTPUTS[format_name]
    write_labels(path, FaceTable.from_images(images), format_name=format_name)
    images_found = None
    if format_name == "yolo":
        for image in images:
            write_png(folder / "images" / image.file_name, 640, 480)
        images_found = folder / "images"
    found = {
        image.file_name: image
        for image in read_labels(path, format_name=format_name, images=images_found).label_images()
    }
    writer = WRITERS[format_name]
    assert set(found) == {image.file_name for image in images}
    for image in images:
        wanted = image.faces if writer.holds_ignore else image.faces.select(~image.faces.ignore)
        names = tuple(name for name in image.faces.attributes if writer.attributes is None or name in writer.attributes)
        assert_same(found[image.file_name].faces, wanted, attributes=names)
        if writer.holds_sizes:
            assert (found[image.file_name].width, found[image.file_name].height) == (640, 480)


def test_wider_files_are_the_official_labels(tmp_path: Path) -> None:
    labels = faces(2)
    empty = FaceLabels.empty()
    table = FaceTable.from_labels(["e/a.jpg", "e/b.jpg"], [labels, empty])
    write_labels(tmp_path / "wider_face_train_bbx_gt.txt", table, format_name="wider")
    lines = (tmp_path / "wider_face_train_bbx_gt.txt").read_text().splitlines()
    assert lines[:2] == ["e/a.jpg", "2"]
    assert [len(line.split()) for line in lines[2:4]] == [10, 10]
    assert lines[4:] == ["e/b.jpg", "0", "0 0 0 0 0 0 0 0 0 0"]
    found = read_labels(tmp_path / "wider_face_train_bbx_gt.txt")
    np.testing.assert_array_equal(found.boxes, labels.boxes)
    np.testing.assert_array_equal(found.ignore, labels.ignore)


def test_json_is_one_image_to_a_line_in_the_documented_shape(tmp_path: Path) -> None:
    landmarks = np.full((2, 5, 2), np.nan, np.float32)
    landmarks[0] = 5.5
    labels = FaceLabels(
        boxes=np.array([[1, 2, 3, 4.25], [0, 0, 58.393, 9]], np.float32),
        landmarks=landmarks,
        has_landmarks=np.isfinite(landmarks[:, :, 0]) & [True, True, False, True, True],
        ignore=np.array([False, True]),
        attributes={"blur": np.array([np.nan, 2], np.float32)},
    )
    images = [ImageLabels("a.jpg", labels, 100, 80), ImageLabels("b.jpg", FaceLabels.empty())]
    write_labels(tmp_path / "x.json", FaceTable.from_images(images))
    lines = (tmp_path / "x.json").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 4
    assert json.loads("".join(lines)) == [
        {
            "file_name": "a.jpg",
            "width": 100,
            "height": 80,
            "annotations": [
                {"bbox": [1, 2, 3, 4.25], "landmarks": [[5.5, 5.5], [5.5, 5.5], [-1, -1], [5.5, 5.5], [5.5, 5.5]]},
                {"bbox": [0, 0, 58.393, 9], "landmarks": [], "ignore": True, "attributes": {"blur": 2}},
            ],
        },
        {"file_name": "b.jpg", "annotations": []},
    ]


def test_no_images_are_an_empty_list(tmp_path: Path) -> None:
    write_labels(tmp_path / "x.json", FaceTable.from_images([]))
    assert json.loads((tmp_path / "x.json").read_text()) == []
    assert read_labels(tmp_path / "x.json").label_images() == []


def test_coco_files_have_what_the_official_tool_needs(tmp_path: Path) -> None:
    write_labels(
        tmp_path / "x.json", FaceTable.from_images([ImageLabels("a.jpg", faces(4), 640, 480)]), format_name="coco"
    )
    content = json.loads((tmp_path / "x.json").read_text())
    assert content["categories"][0]["keypoints"] == ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    for annotation in content["annotations"]:
        width, height = annotation["bbox"][2:]
        assert annotation["area"] == pytest.approx(width * height, abs=1e-3)
        assert annotation["iscrowd"] in (0, 1)
        assert len(annotation.get("keypoints", [0] * 15)) == 15


def test_what_a_format_cannot_hold_is_named() -> None:
    images = [ImageLabels("a.jpg", faces(50), 640, 480)]
    table = FaceTable.from_images(images)
    ignored = int(images[0].faces.ignore.sum())
    pointed = int(images[0].faces.has_landmarks.any(axis=1).sum())
    assert WRITERS["json"].describe_losses(table) == ()
    assert WRITERS["wider"].describe_losses(table) == (
        f"landmarks of {pointed} faces",
        "attributes landmark_blur, occluded_landmarks",
        "sizes of 1 image",
    )
    assert WRITERS["retinaface"].count_faces(table) == 50 - ignored


def test_yolo_without_sizes_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RetinaFaceError, match=r"a\.jpg: its size is not known"):
        write_labels(tmp_path / "out", FaceTable.from_labels(["a.jpg"], [FaceLabels.empty()]), format_name="yolo")
    assert list(tmp_path.iterdir()) == []


def test_two_images_with_one_yolo_file_are_an_error(tmp_path: Path) -> None:
    images = [ImageLabels(name, FaceLabels.empty(), 9, 9) for name in ("a.jpg", "a.png")]
    with pytest.raises(RetinaFaceError, match=r"a\.png: another image has the same YOLO label file"):
        write_labels(tmp_path / "out", FaceTable.from_images(images), format_name="yolo")


def test_a_folder_with_other_files_is_not_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "out/precious.jpg", "x")
    with pytest.raises(RetinaFaceError, match=r"precious\.jpg"):
        write_labels(tmp_path / "out", FaceTable.from_images([]), format_name="yolo", force=True)
    assert (tmp_path / "out/precious.jpg").read_text() == "x"


def test_a_result_of_ours_is_replaced_as_a_whole(tmp_path: Path) -> None:
    for name in ("old", "new"):
        table = FaceTable.from_labels([f"{name}.jpg"], [FaceLabels.empty()], image_sizes=[(9, 9)])
        write_labels(tmp_path / "out", table, format_name="yolo", force=True)
    assert [path.name for path in (tmp_path / "out/labels").iterdir()] == ["new.txt"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_place_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    write_text(tmp_path / "file", "x")
    with pytest.raises(RetinaFaceError, match="cannot be written"):
        write_labels(tmp_path / "file/x.json", FaceTable.from_images([]))


@pytest.mark.parametrize(
    ("name", "wanted"), [("a.json", "json"), ("a.NDJSON", "jsonl"), ("a.txt", "retinaface"), ("a.csv", "csv")]
)
def test_the_ending_says_the_format(name: str, wanted: str) -> None:
    assert format_of_output(Path(name)) == wanted


def test_an_ending_that_says_nothing_is_an_error_that_lists_the_formats() -> None:
    with pytest.raises(
        RetinaFaceError, match=r"\.json \(json\).*--to: json, jsonl, coco, yolo, retinaface, wider, csv"
    ):
        format_of_output(Path("out"))
