"""Every format is found out by looking, and gives the same faces."""

from __future__ import annotations

import gzip
import json
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.faces import FaceLabels
from retinaface_cli.formats import READERS, read_labels
from tests.formats.label_samples import (
    BOXES,
    HEIGHT,
    NAMES,
    POINTS,
    SOURCES,
    WIDTH,
    canonical,
    label_txt,
    wider_folder,
    write_png,
    write_text,
)

ALL_SOURCES = {**SOURCES, "wider_folder": wider_folder}
WITHOUT_POINTS = ("wider_text", "wider_mat")


def first_faces(path: Path) -> FaceLabels:
    return read_labels(path).label_images()[0].faces


@pytest.mark.parametrize("sample", [name for name in ALL_SOURCES if name not in ("fddb", "csv")])
def test_each_format_gives_the_same_faces(sample: str, tmp_path: Path) -> None:
    labels = read_labels(ALL_SOURCES[sample](tmp_path / "source"))
    assert labels.format_name == sample.split("_")[0]
    assert len(labels.label_images()) == 2
    assert [image.file_name.split("/")[-1] for image in labels.label_images()] == ["a.jpg", "b.jpg"]
    faces = labels.label_images()[0].faces
    np.testing.assert_array_equal(faces.boxes, BOXES)
    assert len(labels.label_images()[1].faces) == 0
    if sample in WITHOUT_POINTS:
        assert not faces.has_landmarks.any()
    else:
        np.testing.assert_array_equal(faces.landmarks[0], np.array(POINTS, np.float32))
        assert not faces.has_landmarks[1].any()
    assert labels.findings == ()


@pytest.mark.parametrize("sample", ["json", "scrfd", "coco", "yolo", "voc", "labelme"])
def test_sizes_that_a_format_holds_are_kept(sample: str, tmp_path: Path) -> None:
    image = read_labels(SOURCES[sample](tmp_path)).label_images()[0]
    assert (image.width, image.height) == (WIDTH, HEIGHT)


@pytest.mark.parametrize(("sample", "ignored"), [("json", 1), ("scrfd", 0), ("coco", 1), ("voc", 1)])
def test_marks_of_ignored_faces_are_kept(sample: str, ignored: int, tmp_path: Path) -> None:
    assert np.flatnonzero(first_faces(SOURCES[sample](tmp_path)).ignore).tolist() == [ignored]


def test_every_reader_has_a_sample() -> None:
    assert {sample.split("_")[0] for sample in SOURCES} == set(READERS)


def test_a_gzipped_file_is_unpacked_on_the_fly(tmp_path: Path) -> None:
    plain = label_txt(tmp_path)
    packed = tmp_path / "label.txt.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    np.testing.assert_array_equal(first_faces(packed).boxes, BOXES)


def test_an_unknown_file_is_an_error_that_says_what_was_found_and_names_all_formats(tmp_path: Path) -> None:
    path = write_text(tmp_path / "x.txt", "hello\nworld\n")
    with pytest.raises(LabelFormatError, match="found text that begins with 'hello'") as caught:
        read_labels(path)
    assert all(f"{name}: " in str(caught.value) for name in READERS)


def test_a_coco_file_is_known_by_its_keys_whatever_its_images_begin_with(tmp_path: Path) -> None:
    content = (
        '{"images": [{"file_name": "x.jpg", "id": 1}], "annotations": [], "categories": [{"id": 1, "name": "face"}]}'
    )
    assert read_labels(write_text(tmp_path / "x.json", content)).format_name == "coco"


def test_a_folder_without_labels_is_an_error_that_lists_its_files(tmp_path: Path) -> None:
    write_text(tmp_path / "readme.md", "hello")
    with pytest.raises(LabelFormatError, match=r"a folder with readme\.md"):
        read_labels(tmp_path)


def test_the_only_label_file_of_a_folder_is_taken(tmp_path: Path) -> None:
    canonical(tmp_path)
    assert read_labels(tmp_path).format_name == "json"


def test_of_several_label_files_in_a_folder_one_must_be_named(tmp_path: Path) -> None:
    canonical(tmp_path / "a")
    canonical(tmp_path / "b")
    with pytest.raises(LabelFormatError, match=r"2 label files; name one of them, or --split: a/labels\.json, b/lab"):
        read_labels(tmp_path)


def test_of_several_label_files_in_a_folder_the_split_chooses_by_their_names(tmp_path: Path) -> None:
    write_text(tmp_path / "train/_annotations.json", json.dumps([{"file_name": "a.jpg", "annotations": []}]))
    write_text(tmp_path / "labels_val2017.json", json.dumps([{"file_name": "b.jpg", "annotations": []}]))
    assert read_labels(tmp_path, split="train").label_images()[0].file_name == "a.jpg"
    assert read_labels(tmp_path, split="val").label_images()[0].file_name == "b.jpg"


@pytest.mark.parametrize("format_name", [None, "json"])
def test_a_missing_source_is_an_error(format_name: str | None, tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match="no such file or folder"):
        read_labels(tmp_path / "nowhere", format_name=format_name)


def test_an_empty_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match="the file is empty"):
        read_labels(write_text(tmp_path / "x.json", ""))


def test_strict_turns_findings_into_an_error_with_their_places(tmp_path: Path) -> None:
    path = write_text(tmp_path / "label.txt", "# a.jpg\n-5 0 20 20\n1 1 0 5\n")
    with pytest.raises(LabelFormatError) as caught:
        read_labels(path, strict=True)
    assert f"{path}:2" in str(caught.value)
    assert f"{path}:3" in str(caught.value)


def test_what_was_asked_for_is_no_finding_for_strict(tmp_path: Path) -> None:
    labels = read_labels(write_text(tmp_path / "label.txt", "# a.jpg\n0 0 20 8\n"), min_size=10, strict=True)
    assert labels.label_images()[0].faces.ignore.all()


def test_the_image_root_is_found_beside_the_label_file(tmp_path: Path) -> None:
    write_png(tmp_path / "images" / NAMES[0])
    assert read_labels(label_txt(tmp_path)).image_root == tmp_path / "images"


def test_measuring_reads_sizes_and_leaves_out_images_that_are_missing_or_broken(tmp_path: Path) -> None:
    write_png(tmp_path / "images/a.jpg", 50, 30)
    write_text(tmp_path / "images/broken.jpg", "no image")
    path = write_text(tmp_path / "label.txt", "# broken.jpg\n0 0 9 9\n# a.jpg\n40 20 30 5\n# missing.jpg\n1 1 5 5\n")
    labels = read_labels(path, images=tmp_path / "images", measure=True)
    assert [(image.file_name, image.width, image.height) for image in labels.label_images()] == [("a.jpg", 50, 30)]
    np.testing.assert_array_equal(labels.label_images()[0].faces.boxes, [[40, 20, 50, 25]])
    assert [(finding.action, finding.count) for finding in labels.findings] == [
        ("dropped", 1),
        ("dropped", 1),
        ("corrected", 1),
    ]


def test_a_folder_in_which_no_image_lies_is_an_error_that_names_one(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    with pytest.raises(LabelFormatError, match=NAMES[0]):
        read_labels(label_txt(tmp_path), images=tmp_path / "images")


@pytest.mark.parametrize("name", ["x" * 5000 + ".jpg", "x/" * 3000 + "a.jpg"])
def test_names_that_no_file_can_have_are_missing_images(name: str, tmp_path: Path) -> None:
    write_png(tmp_path / "a.jpg")
    labels = read_labels(write_text(tmp_path / "label.txt", f"# a.jpg\n1 2 3 4\n# {name}\n"), measure=True)
    assert [image.file_name for image in labels.label_images()] == ["a.jpg"]
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 1)]


NUL_OF_CSV = ["\0"] if sys.version_info >= (3, 11) else []
"""The csv module of Python 3.10 refuses a file with NUL, by its line."""


@pytest.mark.parametrize(
    ("sample", "letter"),
    [
        *product(["retinaface", "scrfd", "wider_text"], ["\x1b", "\0", "\x9b"]),
        *product(["csv"], ["\x1b", "\x9b", *NUL_OF_CSV]),
        *product(["json", "jsonl", "coco", "labelme"], ["\x1b", "\0", "\x9b", "\udce9"]),
    ],
)
def test_a_name_that_cannot_be_printed_leaves_out_its_image_alone(sample: str, letter: str, tmp_path: Path) -> None:
    source = SOURCES[sample](tmp_path)
    path = source if source.is_file() else source / "b.json"
    text = path.read_text(encoding="utf-8")
    assert text.count("b.jpg") == 1
    written = json.dumps(letter)[1:-1] if path.suffix in (".json", ".jsonl") else letter
    path.write_text(text.replace("b.jpg", f"{written}b.jpg"), encoding="utf-8")
    labels = read_labels(source)
    assert [name.split("/")[-1] for name in labels.file_names] == ["a.jpg"]
    np.testing.assert_array_equal(labels.boxes, BOXES)
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 1)]
    assert labels.findings[0].describe().isprintable()
    with pytest.raises(LabelFormatError, match="holds control characters or is not UTF-8, left out"):
        read_labels(source, strict=True)


def test_an_image_file_whose_name_cannot_be_printed_is_left_out_alone(tmp_path: Path) -> None:
    source = SOURCES["yolo"](tmp_path)
    image = source / "images" / NAMES[1]
    image.rename(image.with_name("\x1b[31m.jpg"))
    labels = read_labels(source)
    assert list(labels.file_names) == [NAMES[0]]
    assert [(finding.action, finding.count) for finding in labels.findings] == [("dropped", 1)]


def test_folders_in_names_that_do_not_exist_are_left_out_of_the_names(tmp_path: Path) -> None:
    write_png(tmp_path / "images/a.jpg")
    path = write_text(tmp_path / "label.txt", "# C:\\data\\train/a.jpg\n0 0 9 9\n")
    labels = read_labels(path, images=tmp_path / "images")
    assert labels.label_images()[0].file_name == "a.jpg"
    assert labels.image_root == tmp_path / "images"


def test_a_image_that_is_named_twice_is_joined_once(tmp_path: Path) -> None:
    path = write_text(
        tmp_path / "label.txt", "# a.jpg\n0 0 9 9\n# b.jpg\n# a.jpg\n5 5 9 9\n# a.jpg\n0 0 9 9\n5 5 9 9\n"
    )
    labels = read_labels(path)
    assert [(image.file_name, len(image.faces)) for image in labels.label_images()] == [("a.jpg", 2), ("b.jpg", 0)]
    assert [(finding.action, finding.count) for finding in labels.findings] == [("corrected", 1), ("dropped", 1)]


def test_a_format_that_is_not_known_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match="pdf: no format of labels; known: json, jsonl"):
        read_labels(tmp_path / "a.json", format_name="pdf")
