"""The output folder of `infer` as a whole: opening it, going on with it, and gathering what is in it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from retinaface_cli.commands.infer.gallery import GALLERY_FILE
from retinaface_cli.data.reading import UnreadableImage
from retinaface_cli.data.sources import Work
from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.detection.results import RESULTS, Results
from retinaface_cli.files.atomic import next_run_folder
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.files.shared_work import clear_shared_work
from retinaface_cli.formats import FaceTable, PredictionFormat, write_predictions
from retinaface_cli.formats.coco import read_image_ids, take_image_ids
from retinaface_cli.formats.parts import import_pyarrow
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.detection import InferSettings
from retinaface_cli.version import __version__

RUNS_FOLDER = Path("runs/infer")

FORMAT_FILES: dict[PredictionFormat, str] = {
    "json": "predictions.json",
    "jsonl": "predictions.jsonl",
    "coco": "predictions_coco.json",
    "wider": "wider/",
    "csv": "predictions.csv",
}


def open_output(settings: InferSettings, weights: LoadedWeights | NetworkFile, protect: Sequence[Path]) -> OutputFolder:
    """Makes the output folder ready for a run and notes in it what the run is; inputs in `protect` stay as they are.

    Raises:
        OutputError: it is none, or holds results that may not be replaced or continued.
        SettingsError: a package that the results need is not installed.
    """
    if settings.save == "parts" and settings.part_format == "parquet":
        import_pyarrow()  # raises its error before there is a folder
    if settings.coco_ids is not None:
        read_image_ids(settings.coco_ids)  # raises the error of a file that is none, before the work
    root = settings.output or next_run_folder(RUNS_FOLDER)
    report = describe_run(settings, weights)
    folder = OutputFolder.open(
        root,
        identity={key: value for key, value in report.items() if key != "weights"},
        mode="resume" if settings.resume else "overwrite" if settings.overwrite else "new",
        protect=protect,
        results=_places(settings),
    )
    clear_shared_work(root)
    folder.write_json(root / "run.json", report, indent=True)
    return folder


def _places(settings: InferSettings) -> list[str]:
    """The files and folders that are written in any case."""
    places = ["run.json", "errors.json", *RESULTS[settings.save].places(settings)]
    if settings.format is not None:
        places.append(FORMAT_FILES[settings.format])
    return [*places, GALLERY_FILE] if settings.html else places


def describe_run(settings: InferSettings, weights: LoadedWeights | NetworkFile) -> dict[str, Any]:
    """What decides the results of a run, as run.json holds it."""
    return {
        "version": __version__,
        "weights": settings.weights,
        "weights_sha256": weights.sha256,
        "settings": settings.identity(),
    }


class Gathered(NamedTuple):
    """The results of a run, and what is not among them.

    Attributes:
        table: the detections of all images and frames.
        num_without_id: images that the COCO labels do not list, whose faces are not in the file of the format coco.
        num_missing: images and videos, or parts, that could be read, but whose results are gone or were never made.
    """

    table: FaceTable
    num_without_id: int
    num_missing: int


def gather_results(results: Results, work: Work, failures: Sequence[UnreadableImage]) -> Gathered:
    """Writes predictions.json and the further format from the results, in input order, and errors.json.

    Of results in parts only the format that is asked for is written.
    """
    settings = results.settings
    num_without_id = 0
    folder = results.folder
    folder.refresh()
    formats: list[PredictionFormat] = ["json"] if settings.save == "each" else []
    if settings.format is not None and settings.format not in formats:
        formats.append(settings.format)
    table = results.read_back(work) if formats else FaceTable.from_images([])
    for format_name in formats:
        part = table
        if format_name == "coco" and settings.coco_ids is not None:
            part, num_without_id = take_image_ids(table, read_image_ids(settings.coco_ids))
        _write_format(folder, part, format_name)
    results.write_errors(work, failures)
    return Gathered(table, num_without_id, results.count_missing(work, failures))


def _write_format(folder: OutputFolder, table: FaceTable, format_name: PredictionFormat) -> None:
    """One file, or for `wider` a folder, of all results."""
    with tempfile.TemporaryDirectory() as temporary:
        made = Path(temporary) / FORMAT_FILES[format_name]
        write_predictions(made, table, format_name=format_name)
        paths = [made] if made.is_file() else sorted(path for path in made.rglob("*.txt") if path.is_file())
        for path in paths:
            folder.write_bytes(folder.root / path.relative_to(temporary), path.read_bytes())
