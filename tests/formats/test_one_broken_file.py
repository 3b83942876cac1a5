"""One broken file of a set that has a label file an image: it is left out and named, the others are read."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from retinaface_cli.data.images import load_training_data
from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats import read_labels, read_predictions
from retinaface_cli.settings.data import DataSettings, LabelSource
from tests.formats.label_samples import SOURCES, VOC, write_png, write_text

NEEDS_FIFO = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")

REASON = "label file that cannot be read, left out with its image"

GOOD_FILE = {"voc": "Annotations/a.xml", "labelme": "a.json", "yolo": "labels/0--Parade/a.txt"}
FIRST_FILE = {"voc": "Annotations/0.xml", "labelme": "0.json", "yolo": "labels/0--Parade/0.txt"}
"""Formats with a file an image -> a file of the source, and a further one, which is read before it."""

LATE_FAULTS = {
    "voc": (" </object>", " </object><object><name>face</name></object>"),
    "labelme": ('"shapes": [', '"shapes": [{"label": "face", "points": [[1, 2], [3, 4], 5]}, '),
    "yolo": ("0 0.25", "0 0.5 0.5 0.1 0.1\n0 0.5 x 0.2 0.1\n0 0.25"),
}
"""Format -> a change to a good file after which something can be read before the fault."""


def make_set(folder: Path, sample: str) -> tuple[Path, Path]:
    """A set of three images, and the label file of the first one, which has faces and attributes where it can."""
    source = SOURCES[sample](folder)
    broken = folder / FIRST_FILE[sample]
    shutil.copyfile(folder / GOOD_FILE[sample], broken)
    if sample == "yolo":
        write_png(folder / "images/0--Parade/0.jpg")
        write_text(folder / "labels/1--Handshaking/b.txt", "")
    else:
        write_text(broken, broken.read_text(encoding="utf-8").replace("a.jpg", "0.jpg"))
    return source, broken


def remove_image(broken: Path) -> None:
    """Takes a file of labels, and its image where the sample has one, out of the set."""
    broken.unlink()
    for image in broken.parent.parent.parent.glob("images/0--Parade/0.jpg"):
        image.unlink()


@pytest.mark.parametrize("sample", FIRST_FILE)
@pytest.mark.parametrize("fault", ["late", "half", "binary", pytest.param("fifo", marks=NEEDS_FIFO)])
def test_the_other_images_are_read_as_if_the_broken_file_were_not_there(
    sample: str, fault: str, tmp_path: Path
) -> None:
    source, broken = make_set(tmp_path, sample)
    if fault == "late":
        old, new = LATE_FAULTS[sample]
        text = broken.read_text(encoding="utf-8")
        assert old in text
        write_text(broken, text.replace(old, new, 1))
    elif fault == "half":
        broken.write_bytes(broken.read_bytes()[: 40 if sample == "yolo" else -30])
    elif fault == "binary":
        broken.write_bytes(b"\x89PNG\r\n\0\0\xff\xfe")
    else:
        broken.unlink()
        os.mkfifo(broken)
    labels = read_labels(source)
    finding = next(found for found in labels.findings if found.reason == REASON)
    assert (finding.action, finding.count) == ("dropped", 1)
    assert finding.examples[0].startswith(str(broken))
    with pytest.raises(LabelFormatError, match=REASON):
        read_labels(source, strict=True)
    remove_image(broken)
    wanted = read_labels(source)
    assert labels.format_name == wanted.format_name == sample
    assert labels.file_names == wanted.file_names
    assert labels.num_faces.tolist() == wanted.num_faces.tolist() == [2, 0]
    np.testing.assert_array_equal(labels.boxes, wanted.boxes)
    np.testing.assert_array_equal(labels.landmarks, wanted.landmarks)
    np.testing.assert_equal(dict(labels.attributes), dict(wanted.attributes))
    assert [found for found in labels.findings if found.reason != REASON] == list(wanted.findings)


@pytest.mark.parametrize("sample", FIRST_FILE)
def test_a_set_of_which_no_file_can_be_read_is_refused(sample: str, tmp_path: Path) -> None:
    source, broken = make_set(tmp_path, sample)
    files = sorted(tmp_path.rglob(f"*{broken.suffix}"))
    for file in files:
        write_text(file, "<annotation>\n<a></b>" if sample == "voc" else '{"shapes": [\n x')
    with pytest.raises(LabelFormatError, match="none of the 3 label files can be read") as caught:
        read_labels(source, format_name=sample)
    assert str(caught.value).startswith(f"{broken}:")
    assert len(files) == 3


def test_marks_of_a_broken_file_leave_no_attribute_behind(tmp_path: Path) -> None:
    write_text(tmp_path / "a.xml", VOC.replace("<truncated>0</truncated>", ""))
    broken = VOC.replace("a.jpg", "b.jpg").replace("</annotation>", "<object><name>face</name></object></annotation>")
    write_text(tmp_path / "b.xml", broken.replace("Frontal", "Left").replace("truncated", "occluded"))
    labels = read_labels(tmp_path)
    assert sorted(labels.attributes) == ["voc_pose"]
    assert labels.attributes["voc_pose"].tolist() == [0]


def test_a_format_is_recognized_where_the_first_files_are_broken(tmp_path: Path) -> None:
    for number in range(5):
        write_text(tmp_path / f"{number}.xml", "" if number % 2 else "\0\0")
    write_text(tmp_path / "a.xml", VOC)
    labels = read_labels(tmp_path)
    assert (labels.format_name, labels.file_names) == ("voc", ["a.jpg"])
    assert [found.count for found in labels.findings] == [5]


def test_broken_predictions_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_png(tmp_path / "images" / f"{name}.png")
    write_text(tmp_path / "labels/a.txt", "0 0.5 0.5 0.2 0.5 0.9\n")
    write_text(tmp_path / "labels/b.txt", "0 0.5 x 0.2 0.5 0.9\n")
    with pytest.raises(LabelFormatError, match=r"b\.txt:1: expected a number, got 'x'"):
        read_predictions(tmp_path)


def test_a_training_names_the_file_that_it_leaves_out(tmp_path: Path) -> None:
    source, broken = make_set(tmp_path, "yolo")
    write_text(broken, "0 0.5 x 0.2 0.5\n")
    data = load_training_data(DataSettings(train=(LabelSource(labels=source),), held_out=0))
    assert [len(found.images) for found in data.train] == [2]
    assert data.findings == (f"{REASON}: 1 ({broken}:1: expected a number, got 'x')",)
