"""The output folder of `infer` as a whole: opening it, going on with it, and gathering what is in it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from retinaface_cli.data.reading import UnreadableImage
from retinaface_cli.data.sources import Source
from retinaface_cli.detection.writer import OutputFolder
from retinaface_cli.errors import SettingsError
from retinaface_cli.faces import ImageDetections
from retinaface_cli.files.atomic import next_run_folder, write_text_atomic
from retinaface_cli.formats import FaceTable, PredictionFormat, read_predictions, write_predictions
from retinaface_cli.formats.coco import read_image_ids, take_image_ids
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.version import __version__

RUNS_FOLDER = Path("runs/infer")
_RUN_FILE = "run.json"
_DECISIVE = (
    "max_size",
    "short_side",
    "upscale",
    "coarse_pass",
    "rescore",
    "score_threshold",
    "nms_iou_threshold",
    "nms_inclusive",
    "box_voting",
    "pre_nms_top_k",
    "keep_top_k",
    "tta",
    "tta_merge",
    "preprocessing",
    "anchors",
)
"""Settings that change the detections: a run can only be gone on with if they are the same."""

FORMAT_FILES: dict[PredictionFormat, str] = {
    "json": "predictions.json",
    "jsonl": "predictions.jsonl",
    "coco": "predictions_coco.json",
    "wider": "wider",
    "csv": "predictions.csv",
}


def check_output(settings: InferSettings, *, weights_sha256: str) -> None:
    """Sees to it that the output folder can be used, without changing anything.

    Raises:
        SettingsError: it is a file, holds results already, or those of other settings than the resumed ones.
    """
    if settings.coco_ids is not None:
        read_image_ids(settings.coco_ids)  # raises the error of a file that is none, before the work
    output = settings.output
    if output is None:
        return
    if output.exists() and not output.is_dir():
        raise SettingsError(f"{output}: is a file; --output wants a folder")
    if settings.resume:
        _check_same_run(output, _describe_run(settings, weights_sha256))
    elif (output / "labels").exists() and not settings.overwrite:
        raise SettingsError(f"{output}: holds results already; --resume to go on, --overwrite to replace them")


def open_output(settings: InferSettings, *, weights_sha256: str) -> Path:
    """Makes the output folder ready for a run and notes in it what the run is."""
    output = settings.output or next_run_folder(RUNS_FOLDER)
    if settings.overwrite:
        for name in ("labels", "viz", "crops", "anonymized"):
            shutil.rmtree(output / name, ignore_errors=True)
    write_text_atomic(output / _RUN_FILE, json.dumps(_describe_run(settings, weights_sha256), indent=2) + "\n")
    return output


def gather_results(
    folder: OutputFolder,
    sources: Sequence[Source],
    failures: Sequence[UnreadableImage],
    *,
    extra: PredictionFormat,
    coco_ids: Path | None = None,
) -> int:
    """Writes predictions.json (and the extra format) from the label files, in input order, and errors.json.

    Returns:
        How many images the COCO labels do not list, whose faces are not in the file of the format coco.
    """
    failed = {failure.name for failure in failures}
    done = [source for source in sources if source.name not in failed and folder.is_done(source)]
    formats: list[PredictionFormat] = ["json"] if extra == "json" else ["json", extra]
    table = FaceTable.from_images(_results(folder, done))
    num_left_out = 0
    for format_name in formats:
        part = table
        if format_name == "coco" and coco_ids is not None:
            part, num_left_out = take_image_ids(table, read_image_ids(coco_ids))
        write_predictions(folder.root / FORMAT_FILES[format_name], part, format_name=format_name)
    errors_path = folder.root / "errors.json"
    if failures:
        listed = [{"file_name": one.name, "path": str(one.source.path), "reason": one.reason} for one in failures]
        write_text_atomic(errors_path, json.dumps(listed, indent=2, ensure_ascii=False) + "\n")
    else:
        errors_path.unlink(missing_ok=True)
    return num_left_out


def _results(folder: OutputFolder, sources: Sequence[Source]) -> Iterator[ImageDetections]:
    """The detections of finished images and frames, read back one at a time."""
    for source in sources:
        for path in folder.finished_labels(source):
            yield from read_predictions(path).detection_images()


def _describe_run(settings: InferSettings, weights_sha256: str) -> dict[str, Any]:
    values = settings.model_dump(mode="json")
    return {
        "version": __version__,
        "weights": settings.weights,
        "weights_sha256": weights_sha256,
        "settings": {key: values[key] for key in _DECISIVE},
    }


def _check_same_run(output: Path, now: dict[str, Any]) -> None:
    """Raises SettingsError unless the folder's results were made with the same weights and settings."""
    path = output / _RUN_FILE
    try:
        before = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingsError(f"{path}: no such file, so there is no run to resume in {output}") from None
    except ValueError:
        raise SettingsError(f"{path}: broken; start anew with --overwrite") from None
    differing = [
        f"{key} was {before.get('settings', {}).get(key)}, is {value}"
        for key, value in now["settings"].items()
        if before.get("settings", {}).get(key) != value
    ]
    if before.get("weights_sha256") != now["weights_sha256"]:
        differing.insert(0, f"weights were {before.get('weights')}, are {now['weights']}")
    if differing:
        raise SettingsError(f"{output}: cannot resume with other settings: {'; '.join(differing)}")
