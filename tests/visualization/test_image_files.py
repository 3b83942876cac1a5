from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.errors import RetinaFaceError
from retinaface_cli.visualization.image_files import save_image


def gradient() -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    image = np.zeros((60, 80, 3), np.uint8)
    image[..., 0] = np.linspace(0, 250, 80)
    image[..., 2] = np.linspace(250, 0, 60)[:, None]
    return image


def test_a_png_comes_back_as_it_was(tmp_path: Path) -> None:
    save_image(tmp_path / "deep" / "er" / "ä b.png", gradient())
    np.testing.assert_array_equal(load_rgb(tmp_path / "deep" / "er" / "ä b.png"), gradient())


def test_a_jpeg_comes_back_nearly_as_it_was_with_red_as_red(tmp_path: Path) -> None:
    save_image(tmp_path / "a.JPG", gradient())
    assert np.abs(load_rgb(tmp_path / "a.JPG").astype(int) - gradient()).max() < 12


def test_lower_quality_makes_smaller_files(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (100, 100, 3), dtype=np.uint8)
    save_image(tmp_path / "a.jpg", image)
    save_image(tmp_path / "b.jpg", image, quality=50)
    assert (tmp_path / "b.jpg").stat().st_size < 0.5 * (tmp_path / "a.jpg").stat().st_size


def test_a_image_too_long_for_jpeg_is_refused_and_goes_into_png(tmp_path: Path) -> None:
    long = np.zeros((1, 70_000, 3), np.uint8)
    with pytest.raises(RetinaFaceError, match=r"70000 x 1 pixels are too many for a JPEG .* write a \.png"):
        save_image(tmp_path / "a.jpg", long)
    save_image(tmp_path / "a.png", long)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("name", ["a.txt", "a"])
def test_an_unknown_ending_is_an_error(name: str, tmp_path: Path) -> None:
    with pytest.raises(RetinaFaceError, match="cannot be written as"):
        save_image(tmp_path / name, gradient())
    assert list(tmp_path.iterdir()) == []


def test_an_empty_image_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(RetinaFaceError, match="cannot be written"):
        save_image(tmp_path / "a.png", np.zeros((0, 5, 3), np.uint8))


def test_a_folder_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("here first")
    with pytest.raises(RetinaFaceError, match="cannot be written"):
        save_image(tmp_path / "x" / "a.png", gradient())


def test_a_failed_write_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_image(tmp_path / "a.png", gradient())

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(RetinaFaceError, match=r"a\.png: cannot be written \(No space left on device\)"):
        save_image(tmp_path / "a.png", np.zeros((5, 5, 3), np.uint8))
    monkeypatch.undo()
    assert cv2.imread(str(tmp_path / "a.png")) is not None
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
