"""Pascal VOC labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels
from tests.formats.label_samples import VOC, voc, write_png, write_text


def test_a_single_file_is_read(tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "a.xml", VOC))
    assert labels.label_images()[0].file_name == "a.jpg"
    assert labels.label_images()[0].faces.attributes["truncated"].tolist() == [0]
    assert labels.label_images()[0].faces.attributes["voc_pose"].tolist() == [0]


def test_difficult_faces_are_ignored_and_faces_without_landmarks_have_none(tmp_path: Path) -> None:
    text = VOC.replace("<difficult>0", "<difficult>1").replace("<has_lm>1", "<has_lm>0")
    faces = read_labels(write_text(tmp_path / "a.xml", text)).label_images()[0].faces
    assert faces.ignore.all()
    assert not faces.has_landmarks.any()


def test_other_classes_are_left_out(tmp_path: Path) -> None:
    other = VOC[VOC.index("<object>") : VOC.index("</annotation>")].replace(">face<", ">dog<")
    labels = read_labels(write_text(tmp_path / "a.xml", VOC.replace("</annotation>", other + "</annotation>")))
    assert len(labels.label_images()[0].faces) == 1
    assert [(finding.action, finding.count) for finding in labels.findings] == [("chosen", 1), ("dropped", 1)]


def test_a_split_is_a_list_of_names(tmp_path: Path) -> None:
    voc(tmp_path)
    write_text(tmp_path / "ImageSets/Main/train.txt", "a\n")
    write_text(tmp_path / "ImageSets/Main/val.txt", "b -1\n")
    assert [image.file_name for image in read_labels(tmp_path, split="val").label_images()] == ["b.jpg"]
    with pytest.raises(LabelFormatError, match="no test part; choose with --split, one of: train, val"):
        read_labels(tmp_path, split="test")


def test_the_image_of_the_xml_files_name_is_taken_where_the_written_one_is_not_there(tmp_path: Path) -> None:
    voc(tmp_path)
    write_png(tmp_path / "JPEGImages/b.png")
    write_png(tmp_path / "JPEGImages/a.jpg")
    labels = read_labels(tmp_path)
    assert [image.file_name for image in labels.label_images()] == ["a.jpg", "b.png"]
    assert labels.image_root == tmp_path / "JPEGImages"


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("</annotation>", "", ":10: not valid XML"),
        ("<ymax>60</ymax>", "", ": object 1: <ymax>: expected a number, got None"),
        ("<ymax>60</ymax>", "<ymax>x</ymax>", ": object 1: <ymax>: expected a number, got 'x'"),
        ("<name>face</name>", "", ": <object>: expected <name> with text in it"),
        ("annotation>", "page>", ":1: expected <annotation>, got <page>"),
        ("bndbox>", "box>", ": object 1: expected <bndbox>, found none"),
    ],
)
def test_broken_files_are_named(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = write_text(tmp_path / "a.xml", VOC.replace(old, new))
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, format_name="voc")
    assert str(caught.value).startswith(f"{path}{message}")


def test_entities_that_grow_without_bound_are_an_error(tmp_path: Path) -> None:
    entities = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 12))
    text = f'<!DOCTYPE annotation [<!ENTITY e0 "face">{entities}]>\n' + VOC.replace(">face<", ">&e11;<")
    with pytest.raises(LabelFormatError, match="not valid XML"):
        read_labels(write_text(tmp_path / "a.xml", text), format_name="voc")
