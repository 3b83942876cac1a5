"""What `train` prints before the first step, after the last, and where it fails."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console

from retinaface_cli.commands.console import say
from retinaface_cli.commands.train.start import Start
from retinaface_cli.commands.train.trainer import count_processes
from retinaface_cli.data.images import TrainingData
from retinaface_cli.errors import ImageReadError, RetinaFaceError, count_of
from retinaface_cli.settings.legacy import Note
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.checkpoints import RunCheckpoints
from retinaface_cli.training.callbacks.progress import format_duration
from retinaface_cli.training.callbacks.stopping import NonFiniteLossError
from retinaface_cli.training.optimization import scale_learning_rate
from retinaface_cli.training.run_folder import RunFolder

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")

_LOST_PROCESS = ("connection closed by peer", "connection reset by peer", "broken pipe", "nccl communicator")
"""What gloo and NCCL say where a process that they talk to is gone."""

_HEADINGS = {
    "mapped": "read as",
    "changed": "works differently now",
    "unused": "without effect here",
}


def print_notes(console: Console, notes: Sequence[Note], *, source: str) -> None:
    """What became of the keys of an old config, grouped."""
    if not notes:
        return
    say(console, f"{source}: config of ternaus/retinaface")
    for kind, heading in _HEADINGS.items():
        group = [note for note in notes if note.kind == kind]
        if group:
            say(console, f"  {heading}:")
        for note in group:
            say(console, f"    {note.key}: {note.text}")


def print_data(console: Console, data: TrainingData) -> None:
    """Label files, numbers of images and faces, and what is odd about them."""
    for source in data.train:
        say(console, f"training    {source.summary}")
    for source in data.validation:
        say(console, f"validation  {source.summary}")
    if not data.validation:
        say(console, "validation  none: the last epoch counts as the best")
    elif not data.has_validation_faces:
        say(console, "validation  warning: it has no faces, so no AP is measured; the last epoch counts as the best")
    for finding in data.findings:
        say(console, f"note        {finding}")


def print_start(console: Console, start: Start, *, folder: RunFolder | None) -> None:
    """Network, start weights, steps and learning rate, and where everything goes."""
    settings = start.settings
    num_parameters = sum(parameter.numel() for parameter in start.network.parameters())
    say(console, f"network     {settings.network.backbone}, {num_parameters:,} parameters")
    for note in start.notes:
        say(console, f"start       {note}")
    again = ", begun again: the run before ended before its first checkpoint"
    place = "nothing is written (fast-dev-run)" if folder is None else f"{folder.path}{again * folder.is_taken_over}"
    say(console, f"run         {place}")


def print_steps(console: Console, settings: TrainSettings, *, num_batches: int) -> None:
    """Size and number of the steps, and the learning rate that follows from it."""
    batch, accumulated = settings.data.batch_size, settings.trainer.accumulate_grad_batches
    processes = count_processes(settings.trainer)
    images = batch * processes * accumulated
    lr = scale_learning_rate(settings.optimizer, global_batch_size=images)
    product = f" ({batch} x {processes} devices x {accumulated} accumulated)" if processes * accumulated > 1 else ""
    scaled = "" if lr == settings.optimizer.lr else f", scaled from {settings.optimizer.lr:g} to the global batch"
    counts = f"{count_of(num_batches, 'batch')} an epoch, {count_of(images, 'image')} a step"
    say(console, f"steps       {counts}{product}; lr {lr:g}{scaled}")


def print_result(
    console: Console,
    checkpoints: RunCheckpoints,
    settings: TrainSettings,
    *,
    seconds: float,
    stopped: str | None,
    image: Path,
) -> None:
    """What came of the training, where it is, and the command to try it.

    Args:
        console: where to.
        checkpoints: of the run; they know its folder and its best epoch.
        settings: of the run.
        seconds: that it took.
        stopped: why it was stopped before its last epoch; None: it was not.
        image: one to try the weights on.
    """
    if stopped is not None:
        say(console, f"stopped early: {stopped}")
    folder, score = checkpoints.folder, checkpoints.best_score
    start_score = checkpoints.start_figures.get(settings.checkpoint.monitor)
    figure = "" if score is None else f" ({settings.checkpoint.monitor} {score:.4f})"
    if checkpoints.best_epoch == 0:
        figure += ", the start weights: training made none better"
    elif score is not None and start_score is not None:
        figure += f", start weights {start_score:.4f}: {score - start_score:+.4f}"
    best = "no epoch was measured" if checkpoints.best_epoch is None else f"best epoch {checkpoints.best_epoch}{figure}"
    weights = folder.last if checkpoints.best_epoch is None else folder.best_weights
    say(console, f"{best}, {format_duration(seconds)} in all")
    say(console, f"weights: {weights}; beside them {folder.curves.name} and {folder.report.name}")
    tried = f"retinaface infer {shlex.quote(str(image))} -w {shlex.quote(str(weights))} --visualize"
    say(console, f"try them: {tried}")


def explain_error(error: Exception, settings: TrainSettings, *, last: Path | None) -> Exception:
    """The error that the user is to see; the same one where nothing better is known.

    Args:
        error: what ended the training.
        settings: of the run.
        last: the newest checkpoint, if there is a place for one.
    """
    if isinstance(error, NonFiniteLossError):
        return RetinaFaceError(f"{error}\n{_advise_on_loss(settings, last)}")
    if isinstance(error, ImageReadError):
        return ImageReadError(_last_message(str(error)))
    message = str(error).lower()
    if isinstance(error, RuntimeError) and any(words in message for words in _LOST_PROCESS):
        return RetinaFaceError(
            f"another process of the training ended, so this one cannot go on ({str(error).splitlines()[0][:200]}); "
            "look for its error above, then go on with --resume last"
        )
    is_memory = isinstance(error, torch.OutOfMemoryError | MemoryError)
    if is_memory or (isinstance(error, RuntimeError) and any(words in message for words in _NO_MEMORY)):
        return RetinaFaceError(_advise_on_memory(settings))
    return error


def _advise_on_loss(settings: TrainSettings, last: Path | None) -> str:
    kept = f"the checkpoint before it is kept: {last}; " if last is not None and last.is_file() else ""
    clip = "" if settings.trainer.gradient_clip_norm else ", set trainer.gradient_clip_norm=10"
    return (
        f"{kept}look at the images and labels of the batch, lower optimizer.lr (now {settings.optimizer.lr:g})"
        f"{clip}, or lengthen scheduler.warmup_epochs, then go on with --resume last"
    )


def _advise_on_memory(settings: TrainSettings) -> str:
    """What to lower, the setting with the least loss first."""
    batch, size = settings.data.batch_size, settings.data.image_size
    half = max(1, batch // 2)
    accumulated = settings.trainer.accumulate_grad_batches * 2
    advice = [f"data.batch_size={half} with trainer.accumulate_grad_batches={accumulated} (the same global batch)"]
    if settings.trainer.precision == "32":
        advice.append("--precision bf16")
    advice.append(f"data.image_size={max(32, size * 3 // 4 // 32 * 32)}")
    validation = max(1, settings.data.validation_batch_size // 2)
    advice.append(f"data.validation_batch_size={validation} if it was in the validation")
    return (
        f"out of memory with {batch} images of {size} x {size} a step on each device; "
        f"lower by --set: {'; or '.join(advice)}"
    )


def _last_message(text: str) -> str:
    """The message itself, without the traceback that a worker process wraps around it."""
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].removeprefix(f"{ImageReadError.__module__}.{ImageReadError.__name__}: ") if lines else text
