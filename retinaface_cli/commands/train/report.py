"""What `train` tells before the first step and after the last."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from retinaface_cli.commands.train.devices import count_processes
from retinaface_cli.commands.train.start import Start
from retinaface_cli.data.images import TrainingData
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.settings.translation import Note
from retinaface_cli.training.callbacks.checkpoints import CheckpointKeeper
from retinaface_cli.training.callbacks.progress import format_duration
from retinaface_cli.training.optimization import scale_learning_rate
from retinaface_cli.training.run_folder import RunFolder

_HEADINGS = {
    "mapped": "read as",
    "changed": "works differently now",
    "unused": "without effect here",
}


def print_notes(console: Console, notes: Sequence[Note], *, source: str) -> None:
    """What became of the keys of an old config, grouped."""
    if not notes:
        return
    console.print(f"{source}: config of ternaus/retinaface")
    for kind, heading in _HEADINGS.items():
        group = [note for note in notes if note.kind == kind]
        if group:
            console.print(f"  {heading}:")
        for note in group:
            console.print(f"    {note.key}: {note.text}", markup=False)


def print_data(console: Console, data: TrainingData) -> None:
    """Label files, numbers of images and faces, and what is doubtful about them."""
    for source in data.train:
        console.print(f"training    {source.summary}", markup=False)
    for source in data.validation:
        console.print(f"validation  {source.summary}", markup=False)
    if not data.validation:
        console.print("validation  none: the last epoch counts as the best")
    for finding in data.findings:
        console.print(f"note        {finding}", markup=False)


def print_start(console: Console, start: Start, *, folder: RunFolder | None) -> None:
    """Network, start weights, steps and learning rate, and where everything goes."""
    settings = start.settings
    num_parameters = sum(parameter.numel() for parameter in start.network.parameters())
    console.print(f"network     {settings.network.backbone}, {num_parameters:,} parameters")
    for note in start.notes:
        console.print(f"start       {note}", markup=False)
    console.print(f"run         {'nothing is written (fast-dev-run)' if folder is None else folder.path}", markup=False)


def print_steps(console: Console, settings: TrainSettings, *, num_batches: int) -> None:
    """Size and number of the steps, and the learning rate that follows from it."""
    batch, accumulated = settings.data.batch_size, settings.trainer.accumulate_grad_batches
    processes = count_processes(settings.trainer)
    images = batch * processes * accumulated
    lr = scale_learning_rate(settings.optimizer, global_batch_size=images)
    product = f" ({batch} x {processes} devices x {accumulated} accumulated)" if processes * accumulated > 1 else ""
    scaled = "" if lr == settings.optimizer.lr else f", scaled from {settings.optimizer.lr:g} to the global batch"
    console.print(f"steps       {num_batches} batches an epoch, {images} images a step{product}; lr {lr:g}{scaled}")


def print_result(
    console: Console, folder: RunFolder, keeper: CheckpointKeeper, settings: TrainSettings, *, seconds: float
) -> None:
    """What came of the training, and what to do next."""
    if keeper.best_epoch is not None:
        score = "" if keeper.best_score is None else f" ({settings.checkpoint.monitor} {keeper.best_score:.4f})"
        console.print(f"best epoch {keeper.best_epoch + 1}{score}, {format_duration(seconds)} in all")
    console.print(f"{folder.path}: checkpoints, {folder.best_weights.name}, {folder.curves.name}, {folder.report.name}")
    console.print(f"next: retinaface infer IMAGES -w {folder.best_weights}")
