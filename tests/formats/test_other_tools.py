"""What annotation tools and operating systems leave in folders and files of labels."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import FaceTable, read_labels, read_predictions
from tests.formats.label_samples import write_png, write_text

VOC_BOX = "<bndbox><xmin>{x}</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
VOC_FACE = f"<object><name>face</name>{{marks}}{VOC_BOX}</object>"


def voc(path: Path, *, x: int = 1, marks: str = "", name: str | None = None) -> Path:
    face = VOC_FACE.format(x=x, marks=marks)
    return write_text(path, f"<annotation><filename>{name or path.stem}.jpg</filename>{face}</annotation>")


def kinds(table: FaceTable) -> list[tuple[str, int]]:
    return [(finding.action, finding.count) for finding in table.findings]


def test_event_folders_of_voc_keep_images_of_equal_names_apart(tmp_path: Path) -> None:
    for x, event in enumerate(("0--Parade", "1--Handshaking")):
        voc(tmp_path / f"Annotations/{event}/1.xml", x=x)
        write_png(tmp_path / f"JPEGImages/{event}/1.jpg")
    for source in (tmp_path, tmp_path / "Annotations"):
        table = read_labels(source)
        assert list(table.file_names) == ["0--Parade/1.jpg", "1--Handshaking/1.jpg"]
        assert table.boxes[:, 0].tolist() == [0, 1]


def test_hidden_files_and_other_xml_do_not_refuse_a_voc_folder(tmp_path: Path) -> None:
    voc(tmp_path / "a.xml")
    (tmp_path / "._a.xml").write_bytes(b"\0\5\26\7Mac OS X")
    write_text(tmp_path / ".ipynb_checkpoints/a.xml", "<annotation>")
    write_text(tmp_path / "project.xml", "<project/>")
    table = read_labels(tmp_path)
    assert (list(table.file_names), kinds(table)) == (["a.jpg"], [("dropped", 1)])


@pytest.mark.parametrize(
    ("marks", "ignored", "actions"),
    [
        ("<truncated>Unspecified</truncated><difficult>true</difficult>", True, []),
        ("<truncated>0</truncated><difficult>0</difficult>", False, []),
        ("<truncated>partly</truncated>", False, [("corrected", 1)]),
    ],
)
def test_marks_of_voc_may_be_words(marks: str, ignored: bool, actions: list[tuple[str, int]], tmp_path: Path) -> None:
    table = read_labels(voc(tmp_path / "a.xml", marks=marks))
    assert (table.ignore.tolist(), kinds(table)) == ([ignored], actions)


def test_other_json_does_not_refuse_a_labelme_folder(tmp_path: Path) -> None:
    shape = {"label": "face", "shape_type": "rectangle", "points": [[1, 2], [30, 40]]}
    write_text(tmp_path / "a.json", json.dumps({"shapes": [shape], "imagePath": "a.jpg"}))
    write_text(tmp_path / "settings.json", "{}")
    write_text(tmp_path / ".ipynb_checkpoints/a-checkpoint.json", "{")
    table = read_labels(tmp_path, format_name="labelme")
    assert (list(table.file_names), kinds(table)) == (["a.jpg"], [("dropped", 1)])


def test_hidden_and_foreign_text_does_not_refuse_detections(tmp_path: Path) -> None:
    write_text(tmp_path / "e/b.v2.txt", f"e/b.v2.jpg\n1\n20 30 60 60 0.9 {' '.join('1' * 10)}\n")
    write_text(tmp_path / "README.txt", "Detections of my network.\nMade today.\n")
    (tmp_path / "e/._b.v2.txt").write_bytes(b"\0\5\26\7Mac OS X")
    table = read_predictions(tmp_path)
    assert (list(table.file_names), kinds(table)) == (["e/b.v2.jpg"], [("dropped", 1)])
    assert table.has_landmarks.all()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "person\nface\n"),
        ("obj.names", "person\nface\n"),
        ("notes.json", '{"categories": [{"id": 0, "name": "person"}, {"id": 1, "name": "face"}]}'),
    ],
)
def test_classes_of_yolo_are_named_beside_it_and_first_files_may_be_empty(
    name: str, content: str, tmp_path: Path
) -> None:
    write_text(tmp_path / name, content)
    for k in range(12):
        write_png(tmp_path / f"images/{k}.png", 100, 80)
        write_text(tmp_path / f"labels/{k}.txt", "" if k < 11 else "0 0.5 0.5 0.9 0.9\n1 0.25 0.5 0.3 0.5\n")
    table = read_labels(tmp_path)
    assert (table.boxes.tolist(), len(table)) == ([[10, 20, 40, 60]], 12)


def test_linked_folders_of_images_are_followed(tmp_path: Path) -> None:
    write_png(tmp_path / "elsewhere/a.png", 100, 80)
    write_text(tmp_path / "set/labels/a.txt", "0 0.25 0.5 0.3 0.5\n")
    (tmp_path / "set/images").symlink_to(tmp_path / "elsewhere")
    assert read_labels(tmp_path / "set").boxes.tolist() == [[10, 20, 40, 60]]


def test_names_without_an_ending_find_their_image(tmp_path: Path) -> None:
    write_png(tmp_path / "images/000abc.png", 400, 300)
    rows = ("000abc,/m/0dzct,0.1,0.4,0.2,0.6,0", "000abc,/m/0dzct,0.5,0.75,0,1,1")
    text = "\n".join(("ImageID,LabelName,XMin,XMax,YMin,YMax,IsGroupOf", *rows))
    table = read_labels(write_text(tmp_path / "boxes.csv", text), images=tmp_path / "images")
    assert list(table.file_names) == ["000abc.png"]
    np.testing.assert_allclose(table.boxes, [[40, 60, 160, 180], [200, 0, 300, 300]], rtol=1e-6)
    assert table.ignore.tolist() == [False, True]


def coco(path: Path, categories: list[dict[str, object]], annotations: list[dict[str, object]]) -> Path:
    images = [{"id": 1, "file_name": "a.jpg", "width": 400, "height": 300}]
    faces = [{"id": i, "image_id": 1, **annotation} for i, annotation in enumerate(annotations)]
    return write_text(path, json.dumps({"images": images, "categories": categories, "annotations": faces}))


def test_the_face_boxes_of_whole_bodies_are_taken(tmp_path: Path) -> None:
    points = [[10 + i, 20 + i, 1] for i in range(68)]
    body = {"category_id": 1, "bbox": [5, 5, 150, 290], "face_box": [10, 20, 90, 100], "face_valid": True}
    body["face_kpts"] = [value for point in points for value in point]
    without = {**body, "face_valid": False}
    table = read_labels(coco(tmp_path / "x.json", [{"id": 1, "name": "person"}], [body, without]))
    assert table.boxes.tolist() == [[10, 20, 100, 120]]
    np.testing.assert_allclose(table.landmarks[0, :3, 0], [10 + 38.5, 10 + 44.5, 40])
    assert kinds(table) == [("chosen", 1)]


def test_a_box_and_the_skeleton_in_it_are_one_face(tmp_path: Path) -> None:
    names = ["left_eye", "right_eye", "nose", "left_mouth", "right_mouth"]
    points = [22, 28, 2, 48, 28, 2, 35, 40, 2, 25, 58, 2, 45, 58, 2]
    categories: list[dict[str, object]] = [
        {"id": 1, "name": "face"},
        {"id": 2, "name": "face_points", "keypoints": names},
    ]
    box: dict[str, object] = {"category_id": 1, "bbox": [10, 10, 50, 60]}
    skeleton: dict[str, object] = {"category_id": 2, "bbox": [22, 28, 26, 30], "keypoints": points}
    alone = {
        **skeleton,
        "bbox": [200, 28, 26, 30],
        "keypoints": [v + 200 if i % 3 == 0 else v for i, v in enumerate(points)],
    }
    table = read_labels(coco(tmp_path / "x.json", categories, [box, skeleton, alone]))
    assert table.boxes.tolist() == [[10, 10, 60, 70], [200, 28, 226, 58]]
    assert table.has_landmarks.all()


@pytest.mark.parametrize(
    ("name", "text", "advice"),
    [
        ("a.xml", '<?xml version="1.0"?><annotations><version>1.1</version></annotations>', "CVAT"),
        ("a.xml", "<?xml version='1.0'?>\n<dataset><name>x</name><images></images></dataset>", "dlib"),
        ("a.json", '{"_via_settings": {}, "_via_img_metadata": {}}', "VIA"),
        ("a.json", '[{"id": 1, "annotations": [{"result": [{"from_name": "label"}]}]}]', "Label Studio"),
    ],
)
def test_files_of_other_tools_are_named_with_the_export_to_choose(
    name: str, text: str, advice: str, tmp_path: Path
) -> None:
    write_text(tmp_path / "set" / name, text)
    for source in (tmp_path / "set", tmp_path / "set" / name):
        with pytest.raises(LabelFormatError, match=f"this is {advice}.*(export|convert)"):
            read_labels(source)


@pytest.mark.parametrize("name", ["p.json", "p.jsonl", "p.csv", "p.txt"])
def test_pipes_and_devices_are_refused_without_waiting(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zero_{name}").symlink_to("/dev/zero")
    for path in (tmp_path / name, tmp_path / f"zero_{name}"):
        for read in (read_labels, read_predictions):
            with pytest.raises(LabelFormatError, match=r"is a (pipe|device)"):
                read(path)


def test_csv_predictions_take_the_columns_that_labels_take(tmp_path: Path) -> None:
    text = "filename;xmin;ymin;xmax;ymax;confidence;class\nb.v2.jpg;1;2;30;40;0.9;face\nb.v2.jpg;1;2;3;4;0.95;face\n"
    table = read_predictions(write_text(tmp_path / "p.csv", text))
    assert table.boxes.tolist() == [[1, 2, 3, 4], [1, 2, 30, 40]]


def test_yolo_predictions_have_their_confidence_last(tmp_path: Path) -> None:
    write_png(tmp_path / "images/a.png", 100, 80)
    points = " ".join(["0.2 0.5 2"] * 5)
    write_text(tmp_path / "labels/a.txt", f"0 0.25 0.5 0.3 0.5 {points} 0.75\n0 0.5 0.5 0.1 0.1 0.9\n")
    table = read_predictions(tmp_path)
    assert table.scores is not None
    assert table.scores.tolist() == [np.float32(0.9), 0.75]
    assert table.has_landmarks.any(axis=1).tolist() == [False, True]
