from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from retinaface_cli.cli.app import main
from retinaface_cli.commands.visualize import VisualizeReport, match_entries, run
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.sources import Source
from retinaface_cli.errors import OutputError, SettingsError
from retinaface_cli.faces import FaceDetections, FaceLabels, ImageDetections, ImageLabels, RgbImage
from retinaface_cli.formats import FaceTable, read_predictions, write_labels, write_predictions
from retinaface_cli.formats.parts import ImageRow
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.visualization import VisualizeSettings
from retinaface_cli.visualization.drawing import LABEL_STYLE, PREDICTION_STYLE
from retinaface_cli.visualization.image_files import save_image
from tests.conftest import REPOSITORY
from tests.formats.test_parts import write_part

BOX = [60.0, 40.0, 140.0, 150.0]
NAMES = ("x.png", "a/x.png", "b/x.png", "b/ü y.jpg")


class Folder:
    """Images with noise, labels and predictions of one face each; predictions also of a weak one."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.images = root / "images"
        noise = np.random.default_rng(0).integers(0, 60, (200, 240, 3), dtype=np.uint8)
        for name in NAMES:
            save_image(self.images / name, noise)
        self.labels = root / "labels.json"
        self.predictions = root / "predictions.json"
        self.write(NAMES)

    def write(self, names: tuple[str, ...]) -> None:
        faces = FaceDetections(
            np.array([BOX, [150, 150, 190, 190]], np.float32),
            np.full((2, 5, 2), np.nan, np.float32),
            np.array([0.9, 0.3], np.float32),
        )
        labels = FaceLabels.from_boxes([BOX])
        write_labels(
            self.labels,
            FaceTable.from_images([ImageLabels(name, labels) for name in names]),
            format_name="json",
            force=True,
        )
        write_predictions(
            self.predictions,
            FaceTable.from_images([ImageDetections(name, faces) for name in names]),
            format_name="json",
        )

    def run(self, **settings: Any) -> tuple[VisualizeReport, str]:
        """The report and what was printed."""
        values = {"images": (str(self.images),), "output": self.root / "out", **settings}
        printed = io.StringIO()
        report = run(
            validate_settings(VisualizeSettings, values, source="test"), console=Console(file=printed, width=200)
        )
        return report, printed.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


def count_color(path: Path, color: tuple[int, int, int]) -> int:
    return int((np.abs(load_rgb(path).astype(int) - color).max(axis=2) < 8).sum())


def blue(path: Path) -> int:
    return count_color(path, LABEL_STYLE.color)


def orange(path: Path) -> int:
    return count_color(path, PREDICTION_STYLE.color)


def drawn_files(output: Path) -> list[str]:
    names = (path.relative_to(output).as_posix() for path in output.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(".retinaface/"))


def test_labels_and_predictions_are_drawn_in_their_colors(folder: Folder) -> None:
    report, printed = folder.run(labels=folder.labels, predictions=folder.predictions, format="png")
    assert drawn_files(report.output) == ["a/x.png", "b/x.png", "b/ü y.jpg.png", "x.png"]
    assert (report.num_images, report.num_labels, report.num_predictions, report.exit_code) == (4, 4, 4, 0)
    assert blue(report.output / "a/x.png") > 200
    assert orange(report.output / "a/x.png") > 200
    assert "4 images, 4 labels, 4 predictions -> " in printed
    assert "labels blue, ignored ones dashed; predictions orange" in printed


def test_predictions_may_lie_in_parts(folder: Folder) -> None:
    parts = folder.root / "results" / "parts"
    for number, image in enumerate(read_predictions(folder.predictions).detection_images()):
        row = ImageRow(image.file_name, "", (200, 240), image.faces)
        write_part(parts / f"part-{number:05d}.jsonl.gz", [row], "jsonl")
    report, _ = folder.run(predictions=folder.root / "results", format="png")
    assert (report.num_images, report.num_predictions) == (4, 4)
    assert orange(report.output / "a/x.png") > 200


def test_each_kind_can_be_drawn_alone(folder: Folder) -> None:
    report, printed = folder.run(labels=folder.labels, format="png", output=folder.root / "1")
    assert (blue(report.output / "x.png") > 200, orange(report.output / "x.png")) == (True, 0)
    assert "predictions" not in printed
    report, _ = folder.run(predictions=folder.predictions, format="png", output=folder.root / "2")
    assert (blue(report.output / "x.png"), orange(report.output / "x.png") > 200) == (0, True)


def test_without_an_output_folder_runs_are_numbered(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.root)
    assert folder.run(labels=folder.labels, output=None)[0].output == Path("runs/visualize/1")
    assert folder.run(labels=folder.labels, output=None)[0].output == Path("runs/visualize/2")
    assert drawn_files(folder.root / "runs/visualize/2") == ["a/x.png.jpg", "b/x.png.jpg", "b/ü y.jpg", "x.png.jpg"]


def test_weak_predictions_are_left_out_and_counted(folder: Folder) -> None:
    report, printed = folder.run(predictions=folder.predictions)
    assert report.num_predictions == 4
    assert "4 predictions under 0.5 are left out (--min-score)" in printed
    report, printed = folder.run(predictions=folder.predictions, min_score=0.3, overwrite=True)
    assert report.num_predictions == 8
    assert "left out" not in printed


def test_a_image_without_an_entry_is_named_and_not_drawn(folder: Folder) -> None:
    folder.write(NAMES[1:])
    report, printed = folder.run(labels=folder.labels)
    assert f"1 of 4 images have no entry in {folder.labels}: x.png" in printed
    assert "x.png.jpg" not in drawn_files(report.output)
    assert report.num_images == 3


def test_a_image_without_faces_is_drawn_as_it_is(folder: Folder) -> None:
    write_labels(
        folder.labels, FaceTable.from_images([ImageLabels("x.png", FaceLabels.empty())]), format_name="json", force=True
    )
    report, _ = folder.run(labels=folder.labels, format="png")
    np.testing.assert_array_equal(load_rgb(report.output / "x.png"), load_rgb(folder.images / "x.png"))


def test_labels_of_other_images_are_an_error_that_shows_both_names(folder: Folder) -> None:
    folder.write(("0--Parade/1.jpg",))
    with pytest.raises(SettingsError, match=r"no entry for any of the 4 images: .*a/x\.png.*0--Parade/1\.jpg"):
        folder.run(labels=folder.labels)
    assert not (folder.root / "out").exists()


def test_labels_that_need_their_images_find_them_in_the_input_folder(folder: Folder) -> None:
    for name in NAMES:
        path = (folder.root / "yolo" / name).with_suffix(".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("0 0.5 0.5 0.25 0.5\n")
    report, _ = folder.run(labels=folder.root / "yolo", labels_format="yolo", format="png")
    assert (report.num_images, report.num_labels) == (4, 4)
    columns = np.flatnonzero(
        (np.abs(load_rgb(report.output / "x.png").astype(int) - LABEL_STYLE.color) < 8).all(axis=(2)).any(axis=0)
    )
    assert (columns[0], columns[-1] + 1) == (90, 150)


def test_nothing_to_draw_is_an_error(folder: Folder) -> None:
    with pytest.raises(SettingsError, match="name --labels, --predictions or both"):
        folder.run()


def test_a_broken_image_is_reported_and_the_others_are_drawn(folder: Folder) -> None:
    (folder.images / "a/x.png").write_bytes(b"")
    report, printed = folder.run(labels=folder.labels)
    assert drawn_files(report.output) == ["b/x.png.jpg", "b/ü y.jpg", "x.png.jpg"]
    assert [failure.name for failure in report.failures] == ["a/x.png"]
    assert "1 image could not be drawn:\n  a/x.png: " in printed
    assert "the file is empty" in printed
    assert report.exit_code == 0


def test_if_no_image_can_be_drawn_the_exit_code_is_one(folder: Folder) -> None:
    for name in NAMES:
        (folder.images / name).write_bytes(b"not an image")
    report, printed = folder.run(labels=folder.labels)
    assert (report.exit_code, len(report.failures)) == (1, 4)
    assert "0 images, 0 labels -> " in printed
    assert drawn_files(folder.root / "out") == []


def test_an_original_is_never_replaced(folder: Folder) -> None:
    before = {name: (folder.images / name).read_bytes() for name in NAMES}
    for overwrite in (False, True):
        with pytest.raises(SettingsError, match="holds originals"):
            folder.run(labels=folder.labels, output=folder.images, format="png", overwrite=overwrite)
    assert {name: (folder.images / name).read_bytes() for name in NAMES} == before
    assert len(drawn_files(folder.images)) == 4


def test_drawings_are_replaced_only_when_asked(folder: Folder) -> None:
    folder.run(labels=folder.labels)
    with pytest.raises(OutputError, match="holds results of a run; --overwrite to replace them"):
        folder.run(labels=folder.labels)
    folder.run(labels=folder.labels, format="png", overwrite=True)
    assert drawn_files(folder.root / "out") == ["a/x.png", "b/x.png", "b/ü y.jpg.png", "x.png"]


def test_files_of_others_stay_and_are_reported(folder: Folder) -> None:
    diary = folder.root / "out/b/x.png.jpg"
    diary.parent.mkdir(parents=True)
    diary.write_text("dear diary")
    for overwrite in (False, True):
        report, printed = folder.run(labels=folder.labels, overwrite=overwrite)
        assert [failure.name for failure in report.failures] == ["b/x.png"]
        assert "is left as it is" in printed
        assert (report.num_images, diary.read_text()) == (3, "dear diary")


def test_names_that_lead_out_of_the_output_folder_stay_in_it(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images of two folders, one named by `..` from further down: their common root keeps the dots."""
    for name in ("ds/a/b/x.png", "other/y.png"):
        save_image(folder.root / name, np.full((200, 240, 3), 80, np.uint8))
    folder.write(("x.png", "y.png"))
    monkeypatch.chdir(folder.root / "ds/a")
    before = {path: path.read_bytes() for path in folder.root.rglob("*") if path.is_file()}
    report, _ = folder.run(images=("b", "../../other"), labels=folder.labels, format="png", output=Path("out"))
    assert report.num_images == 2
    assert len(drawn_files(folder.root / "ds/a/out")) == 2
    assert {path: path.read_bytes() for path in before} == before
    new = {path for path in folder.root.rglob("*") if path.is_file()} - set(before)
    assert all(path.is_relative_to(folder.root / "ds/a/out") for path in new)


def test_a_link_in_the_output_folder_is_not_followed(folder: Folder) -> None:
    (folder.root / "elsewhere").mkdir()
    (folder.root / "out").mkdir()
    (folder.root / "out/b").symlink_to(folder.root / "elsewhere")
    (folder.root / "out/x.png").symlink_to(folder.labels)
    before = folder.labels.read_bytes()
    report, _ = folder.run(labels=folder.labels, format="png")
    assert sorted(failure.name for failure in report.failures) == ["b/x.png", "b/ü y.jpg", "x.png"]
    assert (list((folder.root / "elsewhere").iterdir()), folder.labels.read_bytes()) == ([], before)


def test_drawings_are_no_input_of_labels_or_predictions(folder: Folder) -> None:
    labels = folder.labels.read_bytes()
    with pytest.raises(OutputError, match="is no folder"):
        folder.run(labels=folder.labels, output=folder.labels)
    assert folder.labels.read_bytes() == labels


def test_control_characters_in_names_are_not_printed_raw(folder: Folder) -> None:
    name = "\x1b[31mred\x07.png"
    save_image(folder.images / "z.png", np.zeros((20, 20, 3), np.uint8))
    (folder.images / "z.png").rename(folder.images / name)
    report, printed = folder.run(labels=folder.labels)
    assert report.num_images == 4
    assert "\\x1b[31mred\\x07.png" in printed
    assert "\x1b" not in printed
    assert "\x07" not in printed


def test_coco_results_are_drawn_on_the_images_that_the_labels_give_their_ids_to(folder: Folder) -> None:
    content = {
        "images": [{"id": 5, "file_name": "a/x.png", "width": 240, "height": 200}],
        "annotations": [{"id": 1, "image_id": 5, "category_id": 1, "bbox": [60, 40, 80, 110]}],
        "categories": [{"id": 1, "name": "face"}],
    }
    folder.labels.write_text(json.dumps(content))
    result = {"image_id": 5, "category_id": 1, "bbox": [60, 40, 80, 110], "score": 0.9}
    folder.predictions.write_text(json.dumps([result]))
    report, _ = folder.run(labels=folder.labels, predictions=folder.predictions, format="png")
    assert drawn_files(report.output) == ["a/x.png"]
    assert report.num_predictions == 1


@pytest.mark.parametrize("method", ["blur", "pixelate"])
def test_anonymized_images_show_neither_faces_nor_boxes(folder: Folder, method: str) -> None:
    report, _ = folder.run(predictions=folder.predictions, anonymize=method, format="png")
    image = load_rgb(report.output / "x.png")
    assert image[40:150, 60:140].std() < 0.2 * load_rgb(folder.images / "x.png")[40:150, 60:140].std()
    assert orange(report.output / "x.png") == 0
    report, _ = folder.run(predictions=folder.predictions, anonymize=method, format="png", boxes=True, overwrite=True)
    assert orange(report.output / "x.png") > 200


def test_a_grid_makes_sheets_of_so_many_images_a_side(folder: Folder) -> None:
    report, _ = folder.run(labels=folder.labels, grid=1, format="png", output=folder.root / "1")
    assert drawn_files(report.output) == [f"sheet_00{number}.png" for number in (1, 2, 3, 4)]
    report, _ = folder.run(labels=folder.labels, grid=2, format="png")
    assert drawn_files(report.output) == ["sheet_001.png"]
    assert report.num_images == 4
    assert blue(report.output / "sheet_001.png") > 4 * 200


def test_images_are_shrunk_before_they_are_drawn_on_a_sheet(folder: Folder) -> None:
    save_image(folder.images / "x.png", np.zeros((2000, 2400, 3), np.uint8))
    faces = FaceLabels.from_boxes([[600, 400, 1400, 1500]])
    write_labels(folder.labels, FaceTable.from_images([ImageLabels("x.png", faces)]), format_name="json", force=True)
    report, _ = folder.run(labels=folder.labels, grid=10, format="png")
    sheet = load_rgb(report.output / "sheet_001.png")
    assert sheet.shape[1] == 200 + 2 * 8
    is_blue = np.abs(sheet.astype(int) - LABEL_STYLE.color).max(axis=2) < 8
    columns = np.flatnonzero(is_blue.any(axis=0))
    assert (columns[0], columns[-1] + 1) == pytest.approx((8 + 50, 8 + 117), abs=1)


def test_a_broken_image_is_left_out_of_its_sheet(folder: Folder) -> None:
    (folder.images / "a/x.png").write_bytes(b"")
    report, _ = folder.run(labels=folder.labels, grid=3)
    assert (report.num_images, [failure.name for failure in report.failures]) == (3, ["a/x.png"])
    assert drawn_files(report.output) == ["sheet_001.jpg"]


def test_the_classic_style_is_green_and_keeps_labels_apart(folder: Folder) -> None:
    green = (0, 255, 0)
    report, printed = folder.run(predictions=folder.predictions, style="classic", format="png")
    path = report.output / "x.png"
    assert (count_color(path, green) > 200, orange(path)) == (True, 0)
    assert "orange" not in printed
    folder.run(labels=folder.labels, predictions=folder.predictions, style="classic", format="png", overwrite=True)
    assert (count_color(path, green) > 200, blue(path) > 200) == (True, True)


def test_scores_can_be_left_out(folder: Folder) -> None:
    with_scores, _ = folder.run(predictions=folder.predictions, format="png", output=folder.root / "1")
    without, _ = folder.run(predictions=folder.predictions, format="png", scores=False, output=folder.root / "2")
    assert orange(with_scores.output / "x.png") > orange(without.output / "x.png") + 100


def test_videos_are_left_to_infer(folder: Folder) -> None:
    (folder.images / "clip.mp4").write_bytes(b"video")
    _, printed = folder.run(labels=folder.labels)
    assert "videos are left out (1); infer --visualize draws on them" in printed


def sources(*names: str) -> list[Source]:
    return [Source(Path("/data/set/images", name), name) for name in names]


def test_entries_are_matched_by_their_path_below_the_input_folder() -> None:
    assert match_entries(sources("a/x.jpg", "b/x.jpg", "c/x.jpg"), ["b/x.jpg", "a/x.jpg"]) == [1, 0, None]


def test_entries_may_also_name_the_end_of_the_full_path() -> None:
    names = ["images/a/x.jpg", "x.jpg", "set/images/b/y.jpg", "other/images/b/y.jpg"]
    assert match_entries(sources("a/x.jpg", "b/y.jpg"), names) == [0, 2]
    assert match_entries([Source(Path("/data/0--Parade/x.jpg"), "x.jpg")], ["0--Parade/x.jpg"]) == [0]


def test_entries_without_an_ending_are_matched_too() -> None:
    assert match_entries(sources("a/x.jpg", "a/y.jpg"), ["a/x", "y"]) == [0, 1]


def test_an_entry_that_fits_several_images_fits_none() -> None:
    assert match_entries(sources("a/x.jpg", "b/x.jpg"), ["x.jpg"]) == [None, None]
    assert match_entries(sources("a/x.jpg", "a/x.png"), ["a/x"]) == [None, None]
    assert match_entries(sources("x.jpg", "b/x.jpg"), ["x.jpg"]) == [0, None]
    assert match_entries(sources("x.jpg"), []) == [None]


def run_command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["retinaface", *arguments])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


def test_the_command_draws_the_example_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    images = REPOSITORY / "examples" / "images"
    arguments = ["visualize", str(images), "--labels", str(images / "labels.json"), "-o", str(tmp_path / "out")]
    assert run_command(monkeypatch, *arguments) == 0
    assert "5 images, 82 labels -> " in capsys.readouterr().err
    names = ["astronaut.jpg", "gallery.jpg", "grace_hopper.jpg", "table.jpg", "yearbook.jpg"]
    assert drawn_files(tmp_path / "out") == names
    originals: list[RgbImage] = [load_rgb(images / name) for name in names]
    assert [image.shape for image in originals] == [load_rgb(tmp_path / "out" / name).shape for name in names]
    assert run_command(monkeypatch, *arguments) == 1
    assert "holds results of a run; --overwrite to replace them" in capsys.readouterr().err


def test_wrong_options_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    image = str(REPOSITORY / "examples" / "images" / "astronaut.jpg")
    assert run_command(monkeypatch, "visualize", image) == 1
    assert "error: visualize: nothing to draw" in capsys.readouterr().err
    assert run_command(monkeypatch, "visualize", image, "--labels", str(tmp_path / "none.json")) == 1
    assert "none.json" in capsys.readouterr().err
    assert run_command(monkeypatch, "visualize", image, "--labels", "x", "--style", "odd") == 2
    assert "'clear' or 'classic', got odd" in capsys.readouterr().err
    assert run_command(monkeypatch, "visualize", image, "--grid", "0") == 2
