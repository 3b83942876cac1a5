"""`retinaface export`: writes a network as an ONNX or OpenVINO file, after it was compared with torch."""

from __future__ import annotations

import shutil
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from pathlib import Path

from rich.console import Console

from retinaface_cli.commands.console import say
from retinaface_cli.commands.weights import resolve_with_progress
from retinaface_cli.detection.export import check_packages, make_file, open_file
from retinaface_cli.detection.export_check import BATCH_SIZES, Difference, Reference
from retinaface_cli.errors import CheckpointError, shown
from retinaface_cli.files.output_files import check_outputs, write_file
from retinaface_cli.model.checkpoints.loading import LoadedWeights, load_weights
from retinaface_cli.settings.export import ExportSettings

LIMIT = Difference(score=1e-3, pixels=0.1)
"""How far a file may be from torch."""

LIMIT_HALF = Difference(score=0.1, pixels=20.0)
"""Likewise, where its weights are rounded to 16 bits."""


def run(settings: ExportSettings, *, console: Console | None = None) -> Difference:
    """Runs the whole workflow.

    Args:
        settings: which weights become which file.
        console: for progress and results; None: standard error.

    Returns:
        The largest difference between the file and torch.

    Raises:
        RetinaFaceError: weights that cannot be used, a package that is missing, a place that may not be written to, or
            a file that does not compute what torch does, which is not written then.
    """
    console = console or Console(stderr=True)
    check_packages(settings)
    source = resolve_with_progress(settings.weights, console=console)
    check_outputs(settings.files, force=settings.force, protect=[source])
    weights = load_weights(source, preprocessing=settings.preprocessing, anchors=settings.anchors)
    for note in weights.notes:
        say(console, note)
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / settings.files[0].name
        make_file(weights, settings, made)
        difference = _compare(weights, settings, made, console)
        _put_in_place(settings, made, source)
    for file in settings.files:
        say(console, f"wrote {shown(file)}, {file.stat().st_size / 1e6:.2f} MB")
    return difference


def _compare(weights: LoadedWeights, settings: ExportSettings, made: Path, console: Console) -> Difference:
    """The largest difference between the file, in all runtimes that are installed, and torch.

    The faces that come out of a file with suppression inside may be none for images that show none. So the same file
    with a lower threshold is compared too.

    Raises:
        CheckpointError: it is too large.
    """
    reference = Reference(weights, settings.size)
    files = [(made, settings)]
    if settings.end2end:
        lowered = settings.model_copy(update={"score_threshold": reference.low_threshold})
        files.append((made.with_stem(f"{made.stem}-lowered"), lowered))
        make_file(weights, lowered, files[1][0])
    found: dict[str, Difference] = defaultdict(Difference)
    for path, of_file in files:
        for graph in open_file(path):
            found[graph.description] = found[graph.description].join(reference.compare(graph, of_file))
    sizes = ", ".join(f"{width}x{height}" for height, width in reference.image_sizes)
    what = f"images of {sizes} in batches of {' and '.join(map(str, BATCH_SIZES))}"
    for runtime, difference in found.items():
        say(console, f"{runtime} and torch differ by {_describe(difference, settings)}, {what}")
    worst = max(found.values())
    limit = LIMIT_HALF if settings.half else LIMIT
    if not all(difference.is_within(limit) for difference in found.values()):
        raise CheckpointError(
            f"{shown(settings.files[0])}: not written, since it does not compute what torch does: they differ by "
            f"{_describe(worst, settings)}; allowed are {limit.score} and {limit.pixels} px. Please report it"
        )
    return worst


def _describe(difference: Difference, settings: ExportSettings) -> str:
    """`at most 1e-07 in score and 0.0005 px at 71,256 anchors`."""
    text = f"at most {difference.score:.1g} in score and {difference.pixels:.2g} px at {difference.num_compared:,} "
    if not settings.end2end:
        return text + "anchors"
    return text + f"faces, {difference.num_flips} faces are in one of both alone"


def _put_in_place(settings: ExportSettings, made: Path, source: Path) -> None:
    """Moves the finished files to where they are wanted, the one that is named last; without it the other is no use."""
    main, *others = settings.files
    with ExitStack() as stack:
        for path in (main, *others):
            temporary = stack.enter_context(write_file(path, force=settings.force, protect=[source]))
            shutil.copyfile(made.with_suffix(path.suffix), temporary)
        if others:
            main.unlink(missing_ok=True)  # else a run that is killed here leaves it with weights of another network
