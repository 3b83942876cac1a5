"""Errors in the middle of a training, in words that say what to do."""

from __future__ import annotations

from pathlib import Path

import torch

from retinaface_cli.errors import ImageReadError, RetinaFaceError
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.guards import NonFiniteLossError

_NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")


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
    if settings.trainer.precision == "32-true":
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
