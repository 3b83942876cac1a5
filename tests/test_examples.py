"""The pages in examples/: every command and program on them is run, on small data."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pytest
import typer

from retinaface_cli.cli.app import app
from retinaface_cli.commands.train.options import starter_config
from retinaface_cli.formats import read_labels, write_labels
from retinaface_cli.formats.table import FaceTable
from tests.conftest import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
IMAGES = EXAMPLES / "images"
FENCE = re.compile(r"^```(sh|python|yaml)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MAX_LINES = 60

SMALL_TRAINING = "--max-epochs 1 --set data.image_size=128 --set data.validation_scale=320 --set data.num_workers=0"
SHIMS = {
    "retinaface": f'[ "$1" = train ] && set -- "$@" {SMALL_TRAINING}\nexec {sys.executable} -m retinaface_cli "$@"',
    "srun": 'exec "$@"',
    "sbatch": 'exec bash "$@"',
    "python3": f'exec {sys.executable} "$@"',
}
"""What stands before the real programs on the path: trainings become short, and jobs start at once."""


class Page(NamedTuple):
    """A page to run: what makes its inputs in a folder, and files that are there afterwards."""

    name: str
    make_inputs: Callable[[Path], None]
    results: tuple[str, ...]


def make_photos(folder: Path) -> None:
    """Two images."""
    for name in ("astronaut.jpg", "gallery.jpg"):
        copy_image(name, folder / "photos" / name)


def make_faces(folder: Path) -> None:
    """Labelled images where the starter config names them, and photos."""
    make_photos(folder)
    shutil.copytree(IMAGES, folder / "images", ignore=shutil.ignore_patterns("*.md", "*.json"))
    shutil.copy(IMAGES / "labels.json", folder)


def make_config(folder: Path) -> None:
    """The same and the starter config, as `retinaface train --init-config custom my.yaml` writes it."""
    make_faces(folder)
    (folder / "my.yaml").write_text(starter_config("custom"))


def make_cluster(folder: Path) -> None:
    """The same and an environment to activate."""
    make_config(folder)
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "activate").touch()


def make_video(folder: Path) -> None:
    """A clip of twelve frames."""
    frame = cv2.resize(cv2.imread(str(IMAGES / "astronaut.jpg")), (256, 256))  # type: ignore[arg-type]
    writer = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12, (256, 256))
    for _ in range(12):
        writer.write(frame)
    writer.release()


def make_missed(folder: Path) -> None:
    """Photos and the labels of a face that was missed."""
    make_photos(folder)
    missed = [{"file_name": "gallery.jpg", "annotations": [{"bbox": [10, 20, 60, 80], "landmarks": []}]}]
    (folder / "missed.json").write_text(json.dumps(missed))


def make_label_exports(folder: Path) -> None:
    """The same labels as a COCO file, a YOLO folder, and as CVAT and Label Studio lay out what they export."""
    places = {
        "coco/annotations.json": "coco/images",
        "cvat/annotations/person_keypoints_default.json": "cvat/images/default",
        "label_studio/result.json": "label_studio/images",
    }
    for labels, images in places.items():
        shutil.copytree(IMAGES, folder / images, ignore=shutil.ignore_patterns("*.md", "*.json"))
        (folder / labels).parent.mkdir(exist_ok=True)
        write_labels(folder / labels, read_labels(IMAGES / "labels.json"), format_name="coco")
    write_labels(folder / "yolo", read_labels(IMAGES / "labels.json"), format_name="yolo")


def make_wider(folder: Path) -> None:
    """The five zip files of WIDER FACE with the example images in two events."""
    from tests.golden.face_files import write_ground_truth

    labels = read_labels(IMAGES / "labels.json")
    names = [f"{i % 2}--Event/{name}" for i, name in enumerate(labels.file_names)]
    renamed = FaceTable.from_labels(names, labels.labels(), image_sizes=labels.image_sizes)
    raw = folder / "raw"
    for part in ("train", "val"):
        for source, name in zip(labels.file_names, names, strict=True):
            copy_image(source, raw / f"WIDER_{part}" / f"WIDER_{part}" / "images" / name)
        text = raw / "wider_face_split" / "wider_face_split" / f"wider_face_{part}_bbx_gt.txt"
        points = raw / "retinaface_gt_v1.1" / part / "label.txt"
        for path, layout in ((text, "wider"), (points, "retinaface")):
            path.parent.mkdir(parents=True, exist_ok=True)
            write_labels(path, renamed, format_name=layout)
    (raw / "eval_tools" / "eval_tools").mkdir(parents=True)
    write_ground_truth(raw / "eval_tools" / "eval_tools" / "ground_truth", list(entries_of(renamed)))
    for part_folder in sorted(raw.iterdir()):
        with zipfile.ZipFile(folder / f"{part_folder.name}.zip", "w") as archive:
            for path in sorted(part_folder.rglob("*")):
                archive.write(path, path.relative_to(part_folder))
    shutil.rmtree(raw)


def entries_of(labels: FaceTable) -> Iterator[dict[str, Any]]:
    """The images as the own JSON format has them; boxes of whole pixels, as WIDER FACE has."""
    for image in labels.label_images():
        faces = [{"bbox": np.rint(box).tolist(), "ignore": False} for box in image.faces.boxes]
        yield {"file_name": image.file_name, "annotations": faces}


def copy_image(name: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(IMAGES / name, path)


PAGES = (
    Page("wider_face.md", make_wider, ("ap/report.html", "faces.png", "train.json", "ap_trained/report.json")),
    Page("own_data.md", make_label_exports, ("sheets", "runs/train/faces/best.safetensors")),
    Page("fine_tuning.md", make_faces, ("judged/worst.jpg", "tried/viz/gallery.jpg", "runs/train/custom/curves.png")),
    Page("video.md", make_video, ("out/viz/clip.mp4", "out/labels/clip.mp4/000000.json", "out/predictions.jsonl")),
    Page("crops.md", make_photos, ("out/crops/gallery.jpg/011.jpg", "parts/parts/part-00000.jsonl.gz")),
    Page("anonymize.md", make_missed, ("out/anonymized/gallery.jpg", "public/gallery.jpg", "public_2/gallery.jpg")),
    Page("slurm.md", make_cluster, ("runs/train/faces/best.safetensors", "out/parts/part-00000.jsonl.gz")),
    Page("python_api.md", make_config, ("drawn.jpg", "face_11.png", "large.txt", "runs/train/custom/report.json")),
)
OTHER_TESTS = {"README.md", "model_card.md", "export.md", "large_scale.md"}
"""Pages without commands, or whose commands other tests run."""


def read_page(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_all_commands_and_programs_of_a_page_run_in_their_order(page: Page, tmp_path: Path) -> None:
    page.make_inputs(tmp_path)
    shims = tmp_path.parent / f"{tmp_path.name}-bin"
    shims.mkdir()
    for name, text in SHIMS.items():
        (shims / name).write_text(f"#!/bin/bash\n{text}\n")
        (shims / name).chmod(0o755)
    variables = {**os.environ, "PATH": f"{shims}:{os.environ['PATH']}", "PYTHONPATH": str(REPOSITORY)}
    for kind, text in FENCE.findall(read_page(page.name)):
        if kind == "yaml":
            (tmp_path / text.split("\n")[0].removeprefix("# ")).write_text(text)
            continue
        path = tmp_path / "program.py"
        path.write_text(text)
        command = ["bash", "-euo", "pipefail", "-c", text] if kind == "sh" else [sys.executable, str(path)]
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    missing = [name for name in page.results if not (tmp_path / name).exists()]
    assert not missing, sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))


def test_every_page_is_in_the_index_and_run_and_short() -> None:
    names = {path.name for path in EXAMPLES.glob("*.md")}
    assert names == {page.name for page in PAGES} | OTHER_TESTS
    assert {*re.findall(r"^\| \[(.+?)\]\(\1\)", read_page("README.md"), re.MULTILINE)} == names - {"README.md"}
    for page in PAGES:
        assert read_page(page.name).count("\n") <= MAX_LINES, page.name


def test_links_between_pages_lead_somewhere() -> None:
    for path in EXAMPLES.glob("*.md"):
        for target in re.findall(r"\]\((?!http)(.+?)\)", path.read_text(encoding="utf-8")):
            assert (EXAMPLES / target).exists(), f"{path.name}: {target}"


def list_commands() -> Iterator[tuple[str, list[str]]]:
    """The arguments of `retinaface` in all shell blocks, with the name of their page."""
    for path in sorted(EXAMPLES.glob("*.md")):
        for kind, text in FENCE.findall(path.read_text(encoding="utf-8")):
            if kind != "sh":
                continue
            for line in text.replace("\\\n", " ").splitlines():
                words = shlex.split(line.replace("&& exit", ""), comments=True)
                start = next((i for i, word in enumerate(words) if word in ("retinaface", "retinaface_cli")), None)
                if start is not None:
                    yield path.name, words[start + 1 :]


def test_every_option_on_the_pages_exists() -> None:
    commands: Any = typer.main.get_command(app)
    listed = list(list_commands())
    assert len(listed) > 30
    for page, (name, *arguments) in listed:
        try:
            commands.commands[name].make_context(name, arguments)
        except Exception as error:
            pytest.fail(f"{page}: retinaface {name} {shlex.join(arguments)}: {error!r}")
