"""Weights on the command line: fetching them with a progress bar, saying what was assumed, listing those on offer."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
from rich.table import Table

from retinaface_cli.commands.console import say
from retinaface_cli.detection.network_files import NetworkFile
from retinaface_cli.detection.stages import describe_unmeasured
from retinaface_cli.detection.weights import PACKAGED_NAME, load_network, resolve_weights
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.model.checkpoints.published import find_published, list_published
from retinaface_cli.settings.detection import DetectionSettings


def load_network_with_progress(settings: DetectionSettings, *, console: Console) -> LoadedWeights | NetworkFile:
    """Loads the network that the settings name, and prints what is to be known of it.

    Raises:
        RetinaFaceError: see detection.weights.load_network.
    """
    weights = load_network(resolve_with_progress(settings.weights, console=console), settings)
    notes = [_describe_hash(settings.weights, weights.sha256), *weights.notes]
    if "weights" in settings.model_fields_set:
        notes.append(describe_unmeasured(weights))
    else:
        notes.append(f"weights: {PACKAGED_NAME}, which the package carries; -w takes others")
    for note in filter(None, notes):
        say(console, note)
    return weights


def resolve_with_progress(name_or_path: str, *, console: Console) -> Path:
    """The weights file itself; see detection.weights.resolve_weights."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"fetching {name_or_path}", visible=False, total=None)
        return resolve_weights(
            name_or_path,
            on_progress=lambda done, total: progress.update(task, completed=done, total=total or None, visible=True),
        )


def _describe_hash(name: str, sha256: str) -> str | None:
    """That nobody has said what the sha256 of published weights is; None where it was checked."""
    published = find_published(name)
    if published is None or published.sha256 is not None:
        return None
    return f"{name}: its sha256 is not published; found {sha256}, family and backbone are right"


def print_published_weights(console: Console) -> None:
    """Prints the table of weights that -w takes by name."""
    table = Table(title="Published weights", caption="AP on WIDER FACE val at original size, as published")
    table.add_column("name", no_wrap=True)  # to be copied, so never cut off; it begins with the backbone
    for heading in ("MB", "easy", "medium", "hard"):
        table.add_column(heading, justify="right")
    for heading in ("licence", "cached"):
        table.add_column(heading)
    for weights in list_published():
        scores = [f"{ap:.2f}" for ap in weights.wider_face_ap] if weights.wider_face_ap else ["-"] * 3
        size = f"{weights.megabytes:.1f}"
        cached = "yes" if weights.is_cached else "no"
        table.add_row(weights.name, size, *scores, weights.licence, cached)
    console.print(table)
