from __future__ import annotations

import base64
import gzip
import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
import torch
from rich.console import Console

from retinaface_cli.commands.infer.options import resolve_settings
from retinaface_cli.commands.infer.run import InferReport, run
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.reading import Image
from retinaface_cli.data.video import VideoWriter, read_frames
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.detection.prediction import Prediction
from retinaface_cli.detection.results import EachResults
from retinaface_cli.errors import ImageReadError, OutputError, SettingsError
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats import read_predictions
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.settings.evaluation import EvaluateSettings
from tests.conftest import REPOSITORY
from tests.data.test_shards import write_tar
from tests.data.test_video import write_motion_jpeg
from tests.detection.test_detector import noise, write_random_weights


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_random_weights(tmp_path_factory.mktemp("weights") / "w.safetensors")


def save(path: Path, image: npt.NDArray[np.uint8]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Images with like names in several folders, one of them without any face."""
    folder = tmp_path / "in"
    for index, name in enumerate(["a/x.jpg", "b/x.jpg", "a/x.png", "b/ü y.png"]):
        save(folder / name, noise(96 + 16 * index, 128, seed=index))
    save(folder / "flat.png", np.zeros((64, 64, 3), np.uint8))
    return folder


def infer(inputs: Path | list[str], weights: Path, output: Path, **options: Any) -> InferReport:
    """Runs the command in this process on the CPU."""
    values = {
        "inputs": [str(inputs)] if isinstance(inputs, Path) else inputs,
        "weights": str(weights),
        "output": str(output),
        "accelerator": "cpu",
        "max_size": "original",
        "score_threshold": 0.55,
        "rescore": False,  # random weights never say the same twice
        **options,
    }
    settings = validate_settings(InferSettings, values, source="test")
    return run(settings, console=Console(quiet=True))


def labels(output: Path) -> dict[str, Any]:
    """Contents of all label files by their path below labels/."""
    root = output / "labels"
    return {path.relative_to(root).as_posix(): json.loads(path.read_text()) for path in sorted(root.rglob("*.json"))}


def test_every_image_gets_its_file_and_all_come_together_in_input_order(
    tmp_path: Path, images: Path, weights: Path
) -> None:
    report = infer(images, weights, tmp_path / "out")
    assert report.exit_code == 0
    written = labels(tmp_path / "out")
    assert list(written) == ["a/x.jpg.json", "a/x.png.json", "b/x.jpg.json", "b/ü y.png.json", "flat.png.json"]
    assert written["a/x.png.json"]["file_name"] == written["a/x.png.json"]["file_path"] == "a/x.png"
    face = written["a/x.jpg.json"]["annotations"][0]
    assert len(face["bbox"]) == 4
    assert len(face["landmarks"]) == 5
    assert 0.55 < face["score"] <= 1
    together = read_predictions(tmp_path / "out" / "predictions.json").detection_images()
    assert [image.file_name for image in together] == ["flat.png", "a/x.jpg", "a/x.png", "b/x.jpg", "b/ü y.png"]
    assert sum(len(image.faces) for image in together) == report.num_faces > 0
    assert not (tmp_path / "out" / "errors.json").exists()


def test_a_image_without_faces_has_an_empty_list(tmp_path: Path, images: Path, weights: Path) -> None:
    infer(images / "flat.png", weights, tmp_path / "out", score_threshold=1.0)
    assert labels(tmp_path / "out")["flat.png.json"]["annotations"] == []
    assert read_predictions(tmp_path / "out" / "predictions.json").detection_images()[0].file_name == "flat.png"


def test_a_large_jpeg_has_the_same_faces_with_drawings_and_in_python(tmp_path: Path, weights: Path) -> None:
    save(tmp_path / "in/x.jpg", noise(96, 128).repeat(4, axis=0).repeat(4, axis=1))  # is decoded at a quarter
    infer(tmp_path / "in", weights, tmp_path / "plain", max_size=128, precision="32")
    infer(tmp_path / "in", weights, tmp_path / "drawn", max_size=128, precision="32", visualize=True)
    written = [labels(tmp_path / name)["x.jpg.json"]["annotations"] for name in ("plain", "drawn")]
    assert written[0] == written[1] != []
    faces = FaceDetector.load(weights, device="cpu", max_size=128, score_threshold=0.55).detect(tmp_path / "in/x.jpg")
    np.testing.assert_allclose([face["bbox"] for face in written[0]], faces.boxes, atol=0.02)
    assert load_rgb(tmp_path / "drawn/viz/x.jpg").shape == (384, 512, 3)


@pytest.mark.parametrize("batch_size", [1, 3])
def test_results_do_not_depend_on_the_batch_size(tmp_path: Path, images: Path, weights: Path, batch_size: int) -> None:
    infer(images, weights, tmp_path / "one", batch_size=1)
    infer(images, weights, tmp_path / "more", batch_size=batch_size, num_workers=3)
    pairs = zip(
        *(read_predictions(tmp_path / name / "predictions.json").detection_images() for name in ("one", "more")),
        strict=True,
    )
    for one, more in pairs:
        np.testing.assert_allclose(more.faces.boxes, one.faces.boxes, atol=0.05)
        np.testing.assert_allclose(more.faces.scores, one.faces.scores, atol=1e-3)


def test_drawings_crops_and_hidden_faces_are_written_where_asked(tmp_path: Path, images: Path, weights: Path) -> None:
    out = tmp_path / "out"
    infer(images, weights, out, visualize=True, crops="aligned", anonymize="pixelate", keep_top_k=2)
    for folder, names in {"viz": ["a/x.jpg", "a/x.png.jpg", "b/x.jpg"], "anonymized": ["a/x.jpg", "a/x.png"]}.items():
        for name in names:
            image = cv2.imread(str(out / folder / name))
            assert image is not None
            assert image.shape[1] == 128
    num_faces = len(labels(out)["a/x.jpg.json"]["annotations"])
    crops = sorted((out / "crops" / "a" / "x.jpg").iterdir())
    assert len(crops) == num_faces > 0
    crop = cv2.imread(str(crops[0]))
    assert crop is not None
    assert crop.shape == (112, 112, 3)


@pytest.mark.parametrize(
    ("name", "file"),
    [("jsonl", "predictions.jsonl"), ("coco", "predictions_coco.json"), ("wider", "wider"), ("csv", "predictions.csv")],
)
def test_other_formats_hold_the_same_faces(tmp_path: Path, images: Path, weights: Path, name: str, file: str) -> None:
    report = infer(images, weights, tmp_path / "out", format=name)
    found = read_predictions(tmp_path / "out" / file).detection_images()
    assert sum(len(image.faces) for image in found) == report.num_faces > 0


def test_images_that_cannot_be_read_are_reported_and_the_run_goes_on(
    tmp_path: Path, images: Path, weights: Path
) -> None:
    (images / "empty.jpg").touch()
    (images / "text.jpg").write_text("no image")
    (images / "folder.jpg").mkdir()  # a folder whatever its name, and an empty one
    report = infer(images, weights, tmp_path / "out")
    assert report.exit_code == 0
    assert report.num_images == 5
    errors = {entry["file_name"]: entry["reason"] for entry in json.loads((tmp_path / "out/errors.json").read_text())}
    assert errors.keys() == {"empty.jpg", "text.jpg"}
    assert errors["empty.jpg"] == "the file is empty"


def test_files_that_are_passed_over_are_counted_in_one_line(tmp_path: Path, images: Path, weights: Path) -> None:
    (images / "phone.heic").touch()
    (images / "scan").touch()
    written = io.StringIO()
    settings = validate_settings(
        InferSettings,
        {"inputs": [str(images)], "weights": str(weights), "output": str(tmp_path / "out"), "accelerator": "cpu"},
        source="test",
    )
    run(settings, console=Console(file=written, width=300))
    assert "note: 5 images; left out: 1 .heic, 1 without an ending; convert HEIC first" in written.getvalue()


def test_a_video_that_ends_early_is_reported_and_its_frames_are_kept(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    data = write_motion_jpeg(folder / "cut.avi", 12)
    (folder / "cut.avi").write_bytes(data[: len(data) // 2])
    save(folder / "z.png", noise(64, 96))
    report = infer(folder, weights, tmp_path / "out")
    (failure,) = json.loads((tmp_path / "out/errors.json").read_text())
    num_frames = report.num_images - 1
    assert 0 < num_frames < 12
    assert (failure["file_name"], report.exit_code) == ("cut.avi", 0)
    assert f"ends after {num_frames} of the 12 frames" in failure["reason"]
    names = [image.file_name for image in read_predictions(tmp_path / "out/predictions.json").detection_images()]
    assert names == [*(f"cut.avi/{index:06d}" for index in range(num_frames)), "z.png"]


def test_a_run_in_which_nothing_could_be_read_fails(tmp_path: Path, weights: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "empty.jpg").touch()
    assert infer(tmp_path / "in", weights, tmp_path / "out").exit_code == 1
    with pytest.raises(ImageReadError, match="no such file"):
        infer(tmp_path / "absent", weights, tmp_path / "out")


def test_results_are_not_mixed_with_those_of_another_run(tmp_path: Path, images: Path, weights: Path) -> None:
    infer(images / "a", weights, tmp_path / "out")
    with pytest.raises(OutputError, match="holds results of a run; --resume to go on, --overwrite"):
        infer(images, weights, tmp_path / "out")
    report = infer(images / "b", weights, tmp_path / "out", overwrite=True)
    assert report.num_images == len(labels(tmp_path / "out")) == 2
    with pytest.raises(OutputError, match="keep_top_k was 750, is 3"):
        infer(images / "b", weights, tmp_path / "out", resume=True, keep_top_k=3)


def test_a_resumed_run_does_only_what_is_missing(tmp_path: Path, images: Path, weights: Path) -> None:
    infer(images, weights, tmp_path / "out")
    whole = (tmp_path / "out" / "predictions.json").read_bytes()
    (tmp_path / "out" / "labels" / "b" / "x.jpg.json").unlink()
    (tmp_path / "out" / "predictions.json").unlink()
    report = infer(images, weights, tmp_path / "out", resume=True)
    assert (report.num_images, report.num_done_before) == (1, 4)
    assert (tmp_path / "out" / "predictions.json").read_bytes() == whole


def test_results_that_are_deleted_during_a_run_are_reported(
    tmp_path: Path, images: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = EachResults.write

    def delete_the_one_before(self: EachResults, image: Image, faces: FaceDetections) -> bool:
        for path in tmp_path.glob("out/labels/a/*.json"):
            path.unlink()
        return write(self, image, faces)

    with monkeypatch.context() as patch:
        patch.setattr(EachResults, "write", delete_the_one_before)
        report = infer(images, weights, tmp_path / "out")
    assert (report.num_images, report.num_missing, report.exit_code) == (5, 2, 1)
    assert infer(images, weights, tmp_path / "out", resume=True).exit_code == 0
    assert len(labels(tmp_path / "out")) == 5


def test_videos_give_an_entry_a_frame_and_a_drawn_video(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    with VideoWriter(folder / "clip.mp4", frame_rate=10) as video:
        for index in range(4):
            video.write(noise(96, 128, seed=index))
    save(folder / "z.png", noise(96, 128))
    report = infer(folder, weights, tmp_path / "out", visualize=True, batch_size=3)
    assert report.num_images == 5
    names = [image.file_name for image in read_predictions(tmp_path / "out" / "predictions.json").detection_images()]
    assert names == [*(f"clip.mp4/{index:06d}" for index in range(4)), "z.png"]
    assert len(list(read_frames(tmp_path / "out" / "viz" / "clip.mp4"))) == 4


def write_shards(folder: Path) -> list[dict[str, npt.NDArray[np.uint8]]]:
    """Two shards with images of the same names."""
    shards = [{name: noise(64, 96, seed=10 * k + i) for i, name in enumerate(("a/x.png", "y.png"))} for k in range(2)]
    for k, members in enumerate(shards):
        encoded = {name: cv2.imencode(".png", image)[1].tobytes() for name, image in members.items()}
        write_tar(folder / f"{k:03d}.tar", {**encoded, "y.json": b"{}"}, packed=k == 1)
    return shards


def test_images_in_shards_are_found_as_those_in_files_and_like_names_stay_apart(tmp_path: Path, weights: Path) -> None:
    for k, members in enumerate(write_shards(tmp_path / "shards")):
        for name, image in members.items():
            save(tmp_path / "files" / f"{k:03d}.tar" / name, image)
    infer([f"{tmp_path}/shards/{{000..002}}.tar"], weights, tmp_path / "out", crops="margin")
    infer(tmp_path / "files", weights, tmp_path / "from_files")
    assert labels(tmp_path / "out") == labels(tmp_path / "from_files")
    images = read_predictions(tmp_path / "out" / "predictions.json").detection_images()
    names = ["000.tar/a/x.png", "000.tar/y.png", "001.tar/a/x.png", "001.tar/y.png"]
    assert [image.file_name for image in images] == names
    (error,) = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert error["file_name"].endswith("002.tar")
    (tmp_path / "out" / "labels" / "001.tar" / "y.png.json").unlink()
    report = infer([f"{tmp_path}/shards/{{000..002}}.tar"], weights, tmp_path / "out", crops="margin", resume=True)
    assert (report.num_images, report.num_done_before) == (1, 3)
    assert labels(tmp_path / "out") == labels(tmp_path / "from_files")


def test_a_shard_that_breaks_off_costs_one_line(tmp_path: Path, weights: Path) -> None:
    write_shards(tmp_path / "in")
    path = tmp_path / "in" / "000.tar"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    report = infer(tmp_path / "in", weights, tmp_path / "out")
    assert report.num_images in (2, 3)
    assert [failure.name for failure in report.failures] == ["000.tar"]
    assert "breaks off" in report.failures[0].reason


def rows_of(output: Path) -> dict[str, list[dict[str, Any]]]:
    """Rows of all parts of JSON Lines, by the name of the part."""
    return {
        path.name: [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
        for path in sorted((output / "parts").iterdir())
    }


def test_parts_hold_a_row_an_image_and_no_image_has_a_file(tmp_path: Path, images: Path, weights: Path) -> None:
    write_shards(images / "shards")
    (images / "a" / "broken.jpg").write_bytes(b"no image")
    report = infer(images, weights, tmp_path / "out", save="parts", part_size=4, batch_size=3)
    assert (report.num_images, report.exit_code) == (9, 0)
    files = sorted(path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.*"))
    parts = [f"parts/part-{number:05d}.jsonl.gz" for number in range(4)]
    assert [file for file in files if ".retinaface" not in file] == [
        *("errors.json", "errors/part-00000.jsonl", *parts, "run.json")
    ]
    rows = rows_of(tmp_path / "out")
    assert [[(row["shard"], row["name"]) for row in part] for part in rows.values()] == [
        [("", "flat.png"), ("", "a/x.jpg"), ("", "a/x.png")],
        [("", "b/x.jpg"), ("", "b/ü y.png")],
        [("shards/000.tar", "a/x.png"), ("shards/000.tar", "y.png")],
        [("shards/001.tar", "a/x.png"), ("shards/001.tar", "y.png")],
    ]
    (error,) = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert error["file_name"] == "a/broken.jpg"
    infer(images, weights, tmp_path / "each")
    each = {image.file_name: image for image in read_predictions(tmp_path / "each").detection_images()}
    for image in read_predictions(tmp_path / "out").detection_images():
        other = each[image.file_name]
        assert (image.width, image.height) == (other.width, other.height)
        np.testing.assert_array_equal(image.faces.boxes, other.faces.boxes)


def test_a_part_is_done_or_absent_and_made_again_where_its_images_changed(
    tmp_path: Path, images: Path, weights: Path
) -> None:
    out = tmp_path / "out"
    options: dict[str, Any] = {"save": "parts", "part_size": 2}
    infer(images, weights, out, **options)
    whole = rows_of(out)
    assert len(whole) == 3
    (out / "parts" / "part-00001.jsonl.gz").unlink()
    report = infer(images, weights, out, resume=True, **options)
    assert (report.num_images, report.num_done_before) == (2, 3)
    assert rows_of(out) == whole
    save(images / "flat.png", noise(50, 60))
    report = infer(images, weights, out, resume=True, **options)
    assert (report.num_images, report.num_done_before) == (2, 3)
    assert rows_of(out)["part-00000.jsonl.gz"][0]["width"] == 60
    (images / "b" / "x.jpg").unlink()
    (images / "b" / "ü y.png").unlink()
    report = infer(images, weights, out, resume=True, **options)
    assert list(rows_of(out)) == ["part-00000.jsonl.gz", "part-00001.jsonl.gz"]
    assert len(read_predictions(out)) == 3
    with pytest.raises(OutputError, match="part_size was 2, is 3"):
        infer(images, weights, out, resume=True, save="parts", part_size=3)


def test_frames_of_videos_are_rows_in_order_among_the_images(tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "in"
    for index, name in enumerate(("a.png", "c.png", "d.png", "e.png")):
        save(folder / name, noise(64, 96 + 32 * (index % 2), seed=index))
    (folder / "b.png").touch()
    with VideoWriter(folder / "bb.mp4", frame_rate=10) as video:
        for index in range(4):
            video.write(noise(96, 128, seed=index))
    infer(folder, weights, tmp_path / "out", save="parts", batch_size=4)
    (rows,) = rows_of(tmp_path / "out").values()
    frames = [f"bb.mp4/{index:06d}" for index in range(4)]
    assert [row["name"] for row in rows] == ["a.png", *frames, "c.png", "d.png", "e.png"]
    assert len(json.loads((tmp_path / "out" / "errors.json").read_text())) == 1


def test_rows_hold_aligned_faces_where_asked(tmp_path: Path, images: Path, weights: Path) -> None:
    infer(images, weights, tmp_path / "out", save="parts", embed_crops=True, keep_top_k=2)
    infer(images, weights, tmp_path / "each", crops="aligned", keep_top_k=2)
    (rows,) = rows_of(tmp_path / "out").values()
    row = next(row for row in rows if row["name"] == "a/x.jpg")
    crops = [base64.b64decode(crop) for crop in row["crops"]]
    assert len(crops) == len(row["boxes"]) == 2
    assert crops == [(tmp_path / "each" / "crops" / "a" / "x.jpg" / f"{i:03d}.jpg").read_bytes() for i in range(2)]


def test_predictions_json_is_written_beside_parts_where_asked(tmp_path: Path, images: Path, weights: Path) -> None:
    pytest.importorskip("pyarrow")
    infer(images, weights, tmp_path / "out", save="parts", part_format="parquet", format="json", part_size=2)
    infer(images, weights, tmp_path / "each")
    one, other = ((tmp_path / name / "predictions.json").read_text() for name in ("out", "each"))
    assert json.loads(one) == json.loads(other)
    assert len(list((tmp_path / "out" / "parts").glob("*.parquet"))) == 3


def test_a_list_is_dealt_out_in_parts_and_names_images_relative_to_its_folder(
    tmp_path: Path, images: Path, weights: Path
) -> None:
    write_shards(tmp_path / "shards")
    lines = ["# chosen", "a/x.jpg", "gone.jpg", f"{images}/b/x.jpg", "", "a/x.jpg", f"{tmp_path}/shards/000.tar", "b"]
    (images / "list.txt").write_text("\n".join(lines), encoding="utf-8")
    report = infer([f"@{images}/list.txt", str(tmp_path / "shards")], weights, tmp_path / "out", save="parts")
    assert (report.num_images, report.num_failures) == (10, 1)
    shard = f"{tmp_path}/shards/000.tar"
    assert [[(row["shard"], row["name"]) for row in part] for part in rows_of(tmp_path / "out").values()] == [
        [("", "a/x.jpg"), ("", "b/x.jpg")],
        [(shard, "a/x.png"), (shard, "y.png")],
        [("", "b/x.jpg"), ("", "b/ü y.png")],
        [("000.tar", "a/x.png"), ("000.tar", "y.png")],
        [("001.tar", "a/x.png"), ("001.tar", "y.png")],
    ]
    with pytest.raises(ImageReadError, match=r"absent.txt: .*expected a list of images"):
        infer(["@absent.txt"], weights, tmp_path / "other", save="parts")


@pytest.mark.parametrize("given", [{"save": "parts", "visualize": True}, {"embed_crops": True}])
def test_options_that_exclude_each_other_are_refused(given: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="save parts"):
        resolve(**given)


def command(inputs: Path, weights: Path, output: Path, *options: str) -> list[str]:
    """The command line of a run of its own."""
    fixed = ["-w", str(weights), "-o", str(output), "--accelerator", "cpu", "-m", "original", "--no-rescore"]
    return [sys.executable, "-m", "retinaface_cli", "infer", str(inputs), *fixed, *options]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}


def wait_for_labels(output: Path, process: subprocess.Popen[bytes], number: int) -> None:
    """Returns when so many label files are there."""
    deadline = time.monotonic() + 120
    while len(list(output.glob("labels/*.json"))) < number:
        assert process.poll() is None, "the run ended before it was stopped"
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_stopped_run_loses_nothing_that_was_done_and_can_be_resumed(
    tmp_path: Path, weights: Path, number: signal.Signals
) -> None:
    folder, output = tmp_path / "in", tmp_path / "out"
    for index in range(60):
        save(folder / f"{index:03d}.jpg", noise(240, 320, seed=index))
    process = subprocess.Popen(
        command(folder, weights, output), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_for_labels(output, process, 3)
    process.send_signal(number)
    code = process.wait(timeout=60)
    done = labels(output)
    assert 3 <= len(done) < 60
    assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    assert (output / "predictions.json").exists() == (number == signal.SIGINT)
    infer(folder, weights, output, resume=True, score_threshold=0.7)
    images = read_predictions(output / "predictions.json").detection_images()
    assert [image.file_name for image in images] == [f"{index:03d}.jpg" for index in range(60)]
    assert {name: content for name, content in labels(output).items() if name in done} == done


def test_large_images_are_looked_at_twice_unless_that_is_off(tmp_path: Path) -> None:
    portrait = REPOSITORY / "examples" / "images" / "astronaut.jpg"
    given: dict[str, Any] = {
        "weights": Path("mobilenet0.25"),
        "max_size": 4096,
        "score_threshold": 0.7,
        "rescore": True,
    }
    num_faces = {
        kind: infer([str(portrait)], output=tmp_path / str(kind), coarse_pass=kind, **given).num_faces
        for kind in (True, False)
    }
    assert num_faces[True] == 1 < num_faces[False]
    with pytest.raises(OutputError, match="coarse_pass"):
        infer([str(portrait)], output=tmp_path / "False", resume=True, **given)


def test_two_processes_do_each_image_once_and_agree_with_one(tmp_path: Path, images: Path, weights: Path) -> None:
    (images / "empty.jpg").touch()
    options = ["--devices", "2", "--confidence-threshold", "0.55", "--strict"]
    finished = subprocess.run(
        command(images, weights, tmp_path / "two", *options),
        env=environment(),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert finished.returncode == 1, finished.stderr  # --strict, and one image is empty
    assert "5 images" in finished.stderr
    infer(images, weights, tmp_path / "one")
    one, two = ((tmp_path / name / "predictions.json").read_text() for name in ("one", "two"))
    assert json.loads(two) == json.loads(one)
    assert len(json.loads((tmp_path / "two" / "errors.json").read_text())) == 1


def resolve(config: Path | None = None, **given: Any) -> InferSettings:
    return resolve_settings(given, config=str(config or ""), console=Console(quiet=True))


def test_the_command_line_goes_before_the_config_file(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("weights: w.pth\nmax_size: original\nkeep_top_k: 10\n")
    settings = resolve(config, keep_top_k=20, precision="fp16", inputs=["a.jpg"])
    assert settings.weights == "w.pth"
    assert settings.max_size is None
    assert settings.keep_top_k == 20
    assert settings.precision == "16"
    assert settings.inputs == ("a.jpg",)
    assert resolve(anchors="[[10,20],[32,64],[128,256]]").anchors is not None


def test_infer_takes_the_fastest_precision_and_evaluate_the_exact_one_unless_told_otherwise() -> None:
    assert resolve().precision == "auto"
    assert EvaluateSettings().precision == "32"
    assert EvaluateSettings(precision="auto").precision == "auto"


def test_box_voting_moves_faces_unless_it_is_off_or_views_are_merged(
    tmp_path: Path, images: Path, weights: Path
) -> None:
    def found(name: str, **options: Any) -> dict[str, list[Any]]:
        infer(images, weights, tmp_path / name, **options)
        return {key: value["annotations"] for key, value in labels(tmp_path / name).items()}

    voted, plain = found("voted"), found("plain", box_voting=False)
    assert [len(faces) for faces in voted.values()] == [len(faces) for faces in plain.values()]
    assert voted != plain
    assert found("old", nms_inclusive=True) == found("old_plain", nms_inclusive=True, box_voting=False)
    assert found("views", tta=("flip",)) == found("views_plain", tta=("flip",), box_voting=False)


def test_evaluate_takes_the_best_box_unless_told_otherwise() -> None:
    assert not EvaluateSettings().votes
    assert EvaluateSettings(box_voting=True).votes
    assert EvaluateSettings(nms_inclusive=False).votes


def test_evaluate_checks_doubtful_faces_only_if_told_to_and_then_lets_weaker_scores_in() -> None:
    def of(**given: Any) -> tuple[bool | None, float]:
        settings = EvaluateSettings(**given)
        return settings.rescore, settings.score_threshold

    assert of() == (False, 0.02)
    assert of(rescore=True) == (True, 0.005)
    assert of(rescore=True, score_threshold=0.1) == (True, 0.1)
    assert of(score_threshold=0.0) == (False, 0.0)


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("openvino", {"backend": "openvino", "precision": "32"}),
        ("pyarrow", {"save": "parts", "part_format": "parquet"}),
    ],
)
def test_a_missing_package_is_named_before_the_output_folder_is_made(
    tmp_path: Path,
    images: Path,
    weights: Path,
    module: str,
    options: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == module else name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(SettingsError, match=r"pip install 'retinaface-cli\[\w+\]'"):
        infer(images, weights, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_the_last_line_says_what_ran_the_network(tmp_path: Path, images: Path, weights: Path) -> None:
    settings = {"inputs": [str(images)], "weights": str(weights), "output": str(tmp_path / "out")}
    said = io.StringIO()
    for precision in ("32", "bf16"):
        values = {**settings, "accelerator": "cpu", "backend": "torch", "precision": precision, "overwrite": True}
        run(validate_settings(InferSettings, values, source="test"), console=Console(file=said, width=200))
        assert f"images/s; torch, {precision})" in said.getvalue()


def test_one_image_is_counted_as_one(tmp_path: Path, images: Path, weights: Path) -> None:
    values = {"inputs": [str(images / "flat.png")], "weights": str(weights), "output": str(tmp_path / "out")}
    said = io.StringIO()
    settings = validate_settings(InferSettings, {**values, "accelerator": "cpu", "score_threshold": 1.0}, source="test")
    run(settings, console=Console(file=said, width=200))
    assert "0 faces in 1 image, " in said.getvalue()


def test_wrong_settings_are_named(tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("keep_top: 10\n")
    with pytest.raises(SettingsError, match="keep_top: unknown setting; did you mean keep_top_k"):
        resolve(config)
    with pytest.raises(SettingsError, match="only be read by one process"):
        resolve(inputs=["-"], devices=2)
    with pytest.raises(SettingsError, match="resume needs output"):
        resolve(resume=True)


@pytest.mark.parametrize("name", ["2020-07-19", "2020-07-20", "2020-11-15"])
def test_configs_of_ternaus_give_anchors_and_preprocessing(name: str) -> None:
    settings = resolve(REPOSITORY / "tests" / "fixtures" / "old_configs" / f"{name}.yaml", keep_top_k=5)
    assert settings.preprocessing == "imagenet-rgb"
    assert settings.anchors is not None
    assert settings.anchors.sizes == ((16, 32), (64, 128), (256, 512))
    assert settings.keep_top_k == 5


@pytest.mark.parametrize("backend", ["torch", "onnx", "openvino"])
def test_one_process_on_the_cpu_imports_no_library_that_only_others_need(
    images: Path, tmp_path: Path, backend: str
) -> None:
    command = ["infer", str(images), "--backend", backend, "--accelerator", "cpu", "-o", str(tmp_path / "out")]
    code = (
        "import os, sys\n"
        "leave = os._exit\n"
        "unneeded = {'pytorch_lightning', 'lightning_fabric', 'torchvision', 'torch._dynamo', 'scipy', 'matplotlib'}\n"
        "os._exit = lambda code: (print(unneeded & set(sys.modules), flush=True), leave(code))\n"
        f"sys.argv = ['retinaface', *{command!r}]\n"
        "from retinaface_cli.__main__ import main\n"
        "main()\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout.splitlines()[-1:]) == (0, ["set()"]), run.stderr


@pytest.mark.skipif(torch.accelerator.is_available(), reason="there is a GPU")
@pytest.mark.parametrize(
    ("accelerator", "devices", "message"),
    [
        ("gpu", 1, "accelerator gpu: this machine has no GPU; --accelerator cpu runs on the processor"),
        ("cuda", 1, "device cuda: this machine has 0 CUDA devices; try cpu"),
        ("mps", 1, "device mps: this machine has no GPU of Apple that torch can use; try cpu"),
        ("gpu", 2, "accelerator gpu, devices 2: .*; --accelerator cpu runs on the processor"),
        ("cpu", -1, "accelerator cpu, devices -1: .*; name fewer devices"),
        ("cpu", 0, "devices: expected a number of devices, or -1 for all that there are"),
    ],
)
def test_devices_that_are_not_there_are_named_before_anything_is_made(
    images: Path, weights: Path, tmp_path: Path, accelerator: str, devices: int, message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        infer(images, weights, tmp_path / "out", accelerator=accelerator, devices=devices)
    assert not (tmp_path / "out").exists()


def test_ctrl_c_while_the_last_images_are_written_ends_the_run_as_before(
    images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = Prediction.end

    def interrupted_end(prediction: Prediction, **options: Any) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        end(prediction, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Prediction, "end", interrupted_end)
        report = infer(images, weights, tmp_path / "out")
    assert (report.interrupted, report.exit_code) == (True, 130)
    report = infer(images, weights, tmp_path / "out", resume=True)
    assert report.num_images + report.num_done_before == 5


def test_after_an_error_no_thread_goes_on(
    images: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("by hand")

    monkeypatch.setattr(FaceDetector, "detect_prepared", fail)
    with pytest.raises(RuntimeError, match="by hand"):
        infer(images, weights, tmp_path / "out")
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith("detect")]
