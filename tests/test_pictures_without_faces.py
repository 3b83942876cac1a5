"""The script that makes training pictures without faces."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.formats import read_labels
from tests.conftest import REPOSITORY


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    script = REPOSITORY / "examples" / "make_pictures_without_faces.py"
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    stamps, backgrounds = tmp_path / "stamps", tmp_path / "backgrounds"
    for folder in (stamps / "tools", stamps / "people", backgrounds):
        folder.mkdir(parents=True)
    red_half = np.zeros((300, 200, 4), np.uint8)
    red_half[:150] = (0, 0, 255, 255)
    cv2.imwrite(str(stamps / "tools" / "hammer.png"), red_half)
    cv2.imwrite(str(stamps / "people" / "child.png"), red_half)
    cv2.imwrite(str(stamps / "tools" / "without_transparency.png"), red_half[..., :3])
    cv2.imwrite(str(backgrounds / "sea.jpg"), np.full((700, 2000, 3), 90, np.uint8))
    cv2.imwrite(str(backgrounds / "icon.png"), np.full((64, 64, 3), 90, np.uint8))
    return stamps, backgrounds


def test_each_object_lies_on_a_background_and_is_labelled_as_no_face(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    stamps, backgrounds = folders
    output = tmp_path / "out"
    done = run("--stamps", stamps, "--backgrounds", backgrounds, "-o", output)
    assert done.returncode == 0, done.stderr
    assert "2 pictures without faces, 1 of them backgrounds alone" in done.stdout
    labels = read_labels(output / "labels.json").images
    assert [picture.file_name for picture in labels] == ["background_000.jpg", "stamp_000.jpg"]
    assert not any(len(picture.faces.boxes) for picture in labels)
    sea, hammer = (load_rgb(output / picture.file_name) for picture in labels)
    assert sea.shape == (448, 1280, 3)
    is_red = (hammer[..., 0] > 200) & (hammer[..., 2] < 60)
    assert 0.03 < is_red.mean() < 0.6  # half of it is transparent, and it fills at least half the canvas one way


def test_the_same_seed_gives_the_same_pictures(folders: tuple[Path, Path], tmp_path: Path) -> None:
    stamps, backgrounds = folders
    for name in ("first", "second"):
        assert run("--stamps", stamps, "--backgrounds", backgrounds, "-o", tmp_path / name).returncode == 0
    first, second = ((tmp_path / name / "stamp_000.jpg").read_bytes() for name in ("first", "second"))
    assert first == second


def test_no_background_large_enough_is_an_error(folders: tuple[Path, Path], tmp_path: Path) -> None:
    stamps, _ = folders
    done = run("--stamps", stamps, "--backgrounds", stamps / "nothing", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert "no pictures of at least 300 pixels" in done.stderr
    assert not (tmp_path / "out").exists()
