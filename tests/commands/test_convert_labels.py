"""The whole conversion: several sources, selections, outputs, and what is told at the end."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retinaface_cli.commands.convert_labels.report import matching_anchors
from retinaface_cli.commands.convert_labels.run import run
from retinaface_cli.errors import LabelFormatError, OutputError, SettingsError
from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import READERS, WRITERS, FaceTable, read_labels
from retinaface_cli.formats.images import event_of, hold_out, pick_subset
from retinaface_cli.settings.conversion import ConversionSettings, InputFormat, OutputFormat
from tests.formats.label_samples import NAMES, canonical, label_txt, wider_folder, write_png, write_text


def convert(*sources: Path, **options: Any) -> None:
    run(ConversionSettings(sources=sources, **options))


def make_images(count: int, *, event: str = "") -> list[ImageLabels]:
    return [ImageLabels(f"{event}{i:03}.jpg", FaceLabels.empty()) for i in range(count)]


def test_a_folder_becomes_labels_with_sizes_and_a_summary(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(wider_folder(tmp_path / "wider"), output=tmp_path / "out.json")
    labels = read_labels(tmp_path / "out.json")
    assert [(image.file_name, image.width, len(image.faces)) for image in labels.label_images()] == [
        (NAMES[0], 100, 2),
        (NAMES[1], 100, 0),
    ]
    told = capsys.readouterr().out.replace("\n", " ")
    for words in (
        "2 images, 2 faces",
        "train/label.txt and wider_face_split",
        "Nothing wrong was found",
        "with five landmarks",
        "32 to 64",
    ):
        assert words in told
    assert str(tmp_path / "wider/train/images") in told


def test_findings_are_told_with_their_places(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_text(tmp_path / "label.txt", "# a.jpg\n-5 0 20 20\n1 1 0 5\n")
    convert(source, output=tmp_path / "out.json")
    told = capsys.readouterr().out.replace("\n", "").replace(" ", "")
    assert "boxovertheborderoftheimage,clipped" in told
    assert "label.txt:2" in told
    assert "label.txt:3" in told


def test_names_that_cannot_be_printed_are_told_escaped(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_text(tmp_path / "\x1b[31m/label.txt", "# a.jpg\n0 0 9 9\n1 1 0 5\n# b\x1b[31m.jpg\n0 0 9 9\n")
    convert(source, output=tmp_path / "out.json")
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "b\\x1b[31m.jpg" in told.replace("\n", "").replace(" ", "")
    assert [image.file_name for image in read_labels(tmp_path / "out.json").label_images()] == ["a.jpg"]


def test_sources_with_images_in_several_folders_get_names_from_the_folder_above(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_png(tmp_path / name / "images/a.jpg")
        write_text(tmp_path / name / "label.txt", "# a.jpg\n1 2 30 40\n")
    convert(tmp_path / "one", tmp_path / "two", output=tmp_path / "out.json")
    names = [image.file_name for image in read_labels(tmp_path / "out.json").label_images()]
    assert names == ["one/images/a.jpg", "two/images/a.jpg"]


def test_the_same_image_in_two_sources_is_joined_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_text(tmp_path / "1/label.txt", "# a.jpg\n1 2 30 40\n")
    second = write_text(tmp_path / "2/label.txt", "# a.jpg\n50 50 9 9\n")
    convert(first, second, output=tmp_path / "out.json")
    assert len(read_labels(tmp_path / "out.json").label_images()[0].faces) == 2
    assert "image named again with other faces, joined" in capsys.readouterr().out
    with pytest.raises(LabelFormatError, match="named again"):
        convert(first, second, output=tmp_path / "strict.json", strict=True)
    assert not (tmp_path / "strict.json").exists()


def test_held_out_images_go_to_a_second_file(tmp_path: Path) -> None:
    source = write_text(tmp_path / "label.txt", "".join(f"# {i}.jpg\n1 2 3 4\n" for i in range(20)))
    convert(source, output=tmp_path / "out.json", holdout=0.25, seed=3)
    kept = {image.file_name for image in read_labels(tmp_path / "out.json").label_images()}
    held = {image.file_name for image in read_labels(tmp_path / "out-holdout.json").label_images()}
    assert (len(kept), len(held), len(kept | held)) == (15, 5, 20)


def test_a_subset_is_the_same_for_the_same_seed() -> None:
    table = FaceTable.from_images(make_images(50))
    first, again = (list(pick_subset(table, 10, seed=1).file_names) for _ in range(2))
    assert first == again
    assert first == sorted(first, key=list(table.file_names).index)
    assert first != list(pick_subset(table, 10, seed=2).file_names)
    assert list(pick_subset(table, 99, seed=1).file_names) == list(table.file_names)


def test_events_of_wider_are_held_out_as_a_whole() -> None:
    images = [image for k in range(10) for image in make_images(10, event=f"x/{k}--Event/")]
    kept, held = hold_out(FaceTable.from_images(images), 0.2, seed=0)
    assert (len(kept), len(held)) == (80, 20)
    events = [{event_of(name) for name in part.file_names} for part in (kept, held)]
    assert (len(events[0]), len(events[1]), events[0] & events[1]) == (8, 2, set())


@pytest.mark.parametrize("fraction", [0.001, 0.999])
def test_a_holdout_that_leaves_one_side_empty_is_an_error(fraction: float) -> None:
    with pytest.raises(SettingsError, match="cannot be split like that"):
        hold_out(FaceTable.from_images(make_images(10)), fraction, seed=0)


def test_files_that_are_there_are_replaced_with_force_alone(tmp_path: Path) -> None:
    source = label_txt(tmp_path)
    old = write_text(tmp_path / "out.json", "precious")
    for options in ({}, {"holdout": 0.5}):
        with pytest.raises(OutputError, match=r"out\.json: exists already"):
            convert(source, output=old, **options)
    assert old.read_text() == "precious"
    convert(source, output=old, force=True)
    assert len(read_labels(old).label_images()) == 2


@pytest.mark.parametrize("option", ["stats", "stats_plot"])
def test_statistics_that_are_there_are_not_replaced_either(option: str, tmp_path: Path) -> None:
    old = write_text(tmp_path / "old", "precious")
    with pytest.raises(OutputError, match="exists already"):
        convert(label_txt(tmp_path), output=tmp_path / "out.json", **{option: old})
    assert not (tmp_path / "out.json").exists()


def test_a_broken_source_leaves_nothing_behind(tmp_path: Path) -> None:
    source = write_text(tmp_path / "label.txt", "# a.jpg\n1 2 3\n")
    with pytest.raises(LabelFormatError, match=r"label\.txt:2: expected 4 box numbers, got 3"):
        convert(source, output=tmp_path / "new/out.json", stats=tmp_path / "stats.json")
    assert [path.name for path in tmp_path.iterdir()] == ["label.txt"]


def test_a_source_without_images_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(LabelFormatError, match="holds no labelled images"):
        convert(write_text(tmp_path / "x.json", "[]"), output=tmp_path / "out.json")


def test_statistics_are_written_for_machines_and_for_people(tmp_path: Path) -> None:
    convert(canonical(tmp_path), stats=tmp_path / "s.json", stats_plot=tmp_path / "p.png")
    content = json.loads((tmp_path / "s.json").read_text(encoding="utf-8"))
    assert content["images"] == {
        "all": 2,
        "without_faces": 1,
        "with_ignored_faces_alone": 0,
        "of_known_size": 1,
    }
    assert content["faces"]["ignored"] == 1
    assert content["face_sizes"]["pixels_from"] == [0, 8, 16, 32, 64, 128, 256, 512]
    assert content["attributes"]["blur"]["counts"] == {"1": 1}
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("low", "high", "wanted"),
    [
        (0, 8, "16 (from 7.2)"),
        (8, 16, "16"),
        (16, 32, "16, 32"),
        (256, 512, "256, 512"),
        (512, None, "512"),
    ],
)
def test_the_anchors_beside_a_bin_are_those_that_match_best(low: float, high: float | None, wanted: str) -> None:
    assert matching_anchors(low, high, (16, 32, 64, 128, 256, 512)) == wanted


def test_settings_know_the_formats_that_there_are() -> None:
    assert set(InputFormat.__args__) == set(READERS)  # type: ignore[attr-defined]
    assert set(OutputFormat.__args__) == set(WRITERS)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["train_small", "val_extra"])
@pytest.mark.shared
def test_real_folders_are_converted_with_every_face(name: str, shared: Path, tmp_path: Path) -> None:
    wanted = {"train_small": (649, 2480, 2127), "val_extra": (300, 4172, 0)}[name]
    convert(shared / f"data/wider_{name}", output=tmp_path / "out.json")
    faces = [image.faces for image in read_labels(tmp_path / "out.json").label_images()]
    points = sum(int(part.has_landmarks.all(axis=1).sum()) for part in faces)
    assert (len(faces), sum(map(len, faces)), points) == wanted
    assert all((part.boxes[:, :2] <= part.boxes[:, 2:]).all() for part in faces)


@pytest.mark.shared
@pytest.mark.slow
def test_all_wider_train_labels_take_three_seconds_and_600_mb_at_most(shared: Path, tmp_path: Path) -> None:
    code = (
        "import pathlib, resource, sys; from retinaface_cli.cli.app import app; "
        "app(sys.argv[1:], standalone_mode=False); used = resource.getrusage(resource.RUSAGE_SELF); "
        # of this process alone; ru_maxrss begins at the size of the one that started it
        "peak = pathlib.Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]; "
        "print('used', peak, used.ru_utime + used.ru_stime, 'torch' in sys.modules)"
    )
    source = tmp_path / "label.txt"
    source.write_bytes(gzip.decompress((shared / "labels/wider_train_label.txt.gz").read_bytes()))
    command = [sys.executable, "-c", code, "convert-labels", str(source), str(tmp_path / "out.json"), "--force"]
    all_seconds = []
    for _ in range(3):  # the best of three: others may be using the processor, too
        told = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        peak, seconds, has_torch = told.split("used ")[1].split()
        assert has_torch == "False"
        assert int(peak) < 600 * 1024
        all_seconds.append(float(seconds))
    assert min(all_seconds) < 3
    assert sum(len(image.faces) for image in read_labels(tmp_path / "out.json").label_images()) == 159_423


def test_the_labels_read_back_are_the_labels_read(tmp_path: Path) -> None:
    source = label_txt(tmp_path)
    convert(source, output=tmp_path / "a.json")
    convert(tmp_path / "a.json", output=tmp_path / "b.txt")
    first, second = read_labels(source).label_images()[0].faces, read_labels(tmp_path / "b.txt").label_images()[0].faces
    np.testing.assert_array_equal(first.boxes, second.boxes)
    np.testing.assert_array_equal(first.landmarks, second.landmarks)
    assert (tmp_path / "b.txt").read_text() == source.read_text()


def test_sources_and_output_in_the_wrong_order_are_told_apart_before_anything_is_to_be_replaced(tmp_path: Path) -> None:
    labels = write_text(tmp_path / "labels.json", "[]")
    with pytest.raises(LabelFormatError, match=r"new\.json: no such file or folder; sources come first"):
        convert(tmp_path / "new.json", output=labels)
