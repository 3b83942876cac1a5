"""convert-labels never harms a file that it did not write."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from retinaface_cli.commands.convert_labels.run import run
from retinaface_cli.errors import OutputError
from retinaface_cli.formats import read_labels
from retinaface_cli.settings.conversion import ConversionSettings
from tests.formats.label_samples import canonical, label_txt, write_png, write_text


def convert(*sources: Path, **settings: Any) -> None:
    run(ConversionSettings(sources=sources, **settings))


def yolo_source(folder: Path) -> Path:
    write_png(folder / "images/a.png", 100, 80)
    return write_text(folder / "label.txt", "# a.png\n10 20 30 40\n")


def test_a_folder_with_a_diary_is_not_replaced(tmp_path: Path) -> None:
    diary = write_text(tmp_path / "mine/diary.txt", "dear diary")
    source = yolo_source(tmp_path)
    with pytest.raises(OutputError, match=r"diary\.txt"):
        convert(source, output=tmp_path / "mine", to_format="yolo", images=tmp_path / "images", force=True)
    assert diary.read_text() == "dear diary"


def test_a_diary_in_a_folder_of_ours_is_kept_and_so_is_the_folder(tmp_path: Path) -> None:
    source, out = yolo_source(tmp_path), tmp_path / "out"
    convert(source, output=out, to_format="yolo", images=tmp_path / "images")
    diary = write_text(out / "labels/diary.txt", "dear diary")
    with pytest.raises(OutputError, match=r"diary\.txt"):
        convert(source, output=out, to_format="yolo", images=tmp_path / "images", force=True)
    assert diary.read_text() == "dear diary"


def test_a_yolo_folder_of_ours_is_replaced_and_its_linked_images_stay(tmp_path: Path) -> None:
    source, out = yolo_source(tmp_path), tmp_path / "out"
    for _ in range(2):
        convert(source, output=out, to_format="yolo", images=tmp_path / "images", force=True)
    assert (tmp_path / "images/a.png").is_file()
    assert not (tmp_path / "images/a.png").is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["images", "label.txt", "out"]


def test_a_yolo_folder_is_read_back_by_itself(tmp_path: Path) -> None:
    convert(yolo_source(tmp_path), output=tmp_path / "out", to_format="yolo", images=tmp_path / "images")
    table = read_labels(tmp_path / "out")
    assert (list(table.file_names), table.boxes.tolist()) == (["a.png"], [[10, 20, 40, 60]])


@pytest.mark.parametrize("option", ["stats", "stats_plot", "output"])
def test_no_output_takes_the_place_of_a_source(option: str, tmp_path: Path) -> None:
    source = canonical(tmp_path)
    content = source.read_bytes()
    with pytest.raises(OutputError, match="is a source of this command"):
        convert(source, **{"output": tmp_path / "out.json", option: source}, force=True)
    assert source.read_bytes() == content
    assert not (tmp_path / "out.json").exists()


def test_two_outputs_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="named for two outputs"):
        convert(label_txt(tmp_path), output=tmp_path / "x.json", stats=tmp_path / "x.json")
    assert not (tmp_path / "x.json").exists()


def test_a_device_is_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is a device"):
        convert(label_txt(tmp_path), output=Path("/dev/null"), to_format="json", force=True)
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize("to_format", ["json", "yolo"])
def test_a_link_is_left_as_it_is_with_its_target(to_format: str, tmp_path: Path) -> None:
    target = write_text(tmp_path / "precious.json", "precious")
    link = tmp_path / "out.json"
    link.symlink_to(target)
    with pytest.raises(OutputError, match=r"link|no folder"):
        convert(yolo_source(tmp_path), output=link, to_format=to_format, images=tmp_path / "images", force=True)
    assert (link.is_symlink(), target.read_text()) == (True, "precious")


def test_an_output_folder_above_a_source_is_refused(tmp_path: Path) -> None:
    source = yolo_source(tmp_path / "data")
    with pytest.raises(OutputError):
        convert(source, output=tmp_path / "data", to_format="yolo", images=tmp_path / "data/images", force=True)
    assert source.is_file()


def test_names_that_lead_out_of_the_folder_stay_in_it(tmp_path: Path) -> None:
    write_png(tmp_path / "in/images/a.png", 100, 80)
    write_png(tmp_path / "in/b.png", 100, 80)
    source = write_text(tmp_path / "in/label.txt", "# ../b.png\n1 2 30 40\n# a.png\n1 2 30 40\n")
    convert(source, output=tmp_path / "deep/out", to_format="yolo", images=tmp_path / "in/images")
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["out"]
    assert sorted(path.name for path in (tmp_path / "deep/out/labels").iterdir()) == ["a.txt", "b.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deep", "in"]


def test_a_source_that_is_a_pipe_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "labels.json")
    with pytest.raises(Exception, match="is a pipe"):
        convert(tmp_path / "labels.json", output=tmp_path / "out.json")


@pytest.mark.parametrize("output", [".", "..", "/"])
@pytest.mark.parametrize("holdout", [0, 0.5])
def test_a_folder_without_a_name_of_its_own_is_refused_like_any_other(
    output: str, holdout: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = yolo_source(tmp_path)
    (tmp_path / "work").mkdir()
    write_text(tmp_path / "work/diary.txt", "dear diary")
    monkeypatch.chdir(tmp_path / "work")
    with pytest.raises(OutputError, match=r"not replaced"):
        convert(source, output=Path(output), to_format="yolo", holdout=holdout, force=True)
