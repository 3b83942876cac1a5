"""However many threads read images, large ones are decoded one after another."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from retinaface_cli.commands.infer.gallery import _make_thumbnail
from retinaface_cli.commands.visualize import run
from retinaface_cli.data import pixel_budget
from retinaface_cli.data.images import load_training_data
from retinaface_cli.faces import FaceLabels, ImageLabels
from retinaface_cli.formats import FaceTable, write_labels
from retinaface_cli.settings.data import DataSettings, LabelSource
from retinaface_cli.settings.visualization import VisualizeSettings
from tests.data.test_reading import DecodedPixels, make_large_images

NUM_PIXELS = 150 * 180


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> DecodedPixels:
    monkeypatch.setattr(pixel_budget, "MAX_PIXELS_AT_ONCE", 15_000)
    return DecodedPixels(monkeypatch, num_pixels=NUM_PIXELS)


def write_boxes(folder: Path, suffix: str) -> Path:
    """Six large images in the folder `images`, and a label file with a face on each."""
    (folder / "images").mkdir()
    sources = make_large_images(folder / "images", suffix, 6)
    faces = FaceLabels.from_boxes([[10, 10, 60, 60]])
    table = FaceTable.from_images([ImageLabels(source.name, faces) for source in sources])
    write_labels(folder / "labels.json", table, format_name="json")
    return folder / "labels.json"


def test_training_checks_large_images_one_after_another(tmp_path: Path, decoded: DecodedPixels) -> None:
    source = LabelSource(labels=write_boxes(tmp_path, ".tiff"), images=tmp_path / "images")
    data = load_training_data(DataSettings(train=(source,), held_out=0))
    assert len(data.train[0].images) == 6
    assert decoded.most_at_once == NUM_PIXELS


@pytest.mark.parametrize("grid", [None, 2])
def test_visualize_draws_large_images_one_after_another(
    grid: int | None, tmp_path: Path, decoded: DecodedPixels
) -> None:
    labels = write_boxes(tmp_path, ".png")
    settings = VisualizeSettings(
        images=(str(tmp_path / "images"),), labels=labels, output=tmp_path / "out", num_workers=4, grid=grid
    )
    assert run(settings, console=Console(file=io.StringIO())).num_images == 6
    assert decoded.most_at_once == NUM_PIXELS


def test_a_gallery_reads_large_images_one_after_another(tmp_path: Path, decoded: DecodedPixels) -> None:
    sources = make_large_images(tmp_path, ".png", 6)
    with ThreadPoolExecutor(4) as pool:
        made = partial(_make_thumbnail, pixel_budget.PixelBudget())
        assert all(pool.map(made, [source.path for source in sources]))
    assert decoded.most_at_once == NUM_PIXELS
