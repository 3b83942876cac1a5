"""Files for tests of `evaluate`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from rich.console import Console
from scipy.io import savemat

from retinaface_cli.commands.evaluate import run as command
from retinaface_cli.faces import ImageDetections, ImageLabels
from retinaface_cli.formats import FaceTable, write_predictions
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.evaluation import EvaluateSettings
from tests.detection.test_detector import noise

A = (0.0, 0.0, 20.0, 20.0)
B = (40.0, 0.0, 70.0, 30.0)
NOWHERE = (80.0, 60.0, 95.0, 75.0)


class Notes(Console):
    """Keeps what is said on standard error."""

    def __init__(self) -> None:
        super().__init__(record=True, quiet=False, file=open_nowhere(), width=200)

    @property
    def text(self) -> str:
        return self.export_text(clear=False)


def open_nowhere() -> Any:
    import io

    return io.StringIO()


def evaluate(console: Console | None = None, **values: Any) -> dict[str, Any]:
    """Runs the command in this process and returns report.json."""
    settings = validate_settings(EvaluateSettings, values, source="test")
    report = command.run(settings, console=console or Notes())
    assert report is not None
    content: dict[str, Any] = json.loads((report.output / "report.json").read_text())
    assert (report.output / "pr_curve.png").stat().st_size > 1000
    return content


def write_labels(path: Path, images: Sequence[ImageLabels]) -> Path:
    """Canonical labels."""
    entries = [
        {
            "file_name": image.file_name,
            "annotations": [
                {"bbox": box, "landmarks": [], "ignore": ignored}
                for box, ignored in zip(image.faces.boxes.tolist(), image.faces.ignore.tolist(), strict=True)
            ],
        }
        for image in images
    ]
    path.write_text(json.dumps(entries))
    return path


def write_detections(path: Path, images: Sequence[ImageDetections]) -> Path:
    write_predictions(path, FaceTable.from_images(images), format_name="json")
    return path


def write_images(folder: Path, images: Sequence[ImageLabels]) -> Path:
    """An image of noise for each labelled one."""
    for index, image in enumerate(images):
        path = folder / image.file_name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), noise(96, 128, seed=index))
    return folder


def write_wider_mat(folder: Path, images: Sequence[ImageLabels], counted: dict[str, list[list[int]]]) -> Path:
    """WIDER FACE's four .mat files; `counted` holds 1-based indices of faces by difficulty and image.

    The names of the images are `<event>/<name>.jpg`, those of an event in a row.
    """
    folder.mkdir()
    events = list(dict.fromkeys(image.file_name.partition("/")[0] for image in images))
    by_event = [[i for i, image in enumerate(images) if image.file_name.startswith(f"{event}/")] for event in events]

    def cells(values: Sequence[Any]) -> npt.NDArray[np.object_]:
        array = np.empty((len(values), 1), object)
        for index, value in enumerate(values):
            array[index, 0] = value
        return array

    def per_image(values: Sequence[Any]) -> npt.NDArray[np.object_]:
        return cells([cells([values[i] for i in numbers]) for numbers in by_event])

    boxes = [image.faces.boxes.astype(np.int32) for image in images]
    sizes = [np.concatenate([b[:, :2], b[:, 2:] - b[:, :2]], axis=1) for b in boxes]
    stems = [Path(image.file_name).stem for image in images]
    common = {"event_list": cells(events), "file_list": per_image(stems), "face_bbx_list": per_image(sizes)}
    plain = per_image([np.zeros((len(b), 1), np.uint8) for b in boxes])
    names = ("blur", "expression", "illumination", "occlusion", "pose", "invalid")
    labels = {f"{name}_label_list": plain for name in names}
    savemat(folder / "wider_face_val.mat", {**common, **labels})
    for level, indices in counted.items():
        lists = per_image([np.array(index, np.uint8).reshape(-1, 1) for index in indices])
        savemat(folder / f"wider_{level}_val.mat", {**common, "gt_list": lists})
    return folder
