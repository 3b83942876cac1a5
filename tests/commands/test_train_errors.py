from __future__ import annotations

import io
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch.utils.data import DataLoader, Dataset

from retinaface_cli.commands.train.report import explain_error, print_notes
from retinaface_cli.errors import ImageReadError, RetinaFaceError
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.legacy import Note
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.callbacks.stopping import NonFiniteLossError


def _settings(**data: object) -> TrainSettings:
    values = {"data": {"train": [{"labels": "a.json"}], **data}, "optimizer": {"lr": 0.02}}
    return validate_settings(TrainSettings, values, source="test")


class _Broken(Dataset[int]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> int:
        raise ImageReadError(f"faces/{index}.jpg: the JPEG is truncated (12 bytes)")


def test_an_error_of_a_worker_process_comes_without_its_traceback() -> None:
    with pytest.raises(ImageReadError) as caught:
        next(iter(DataLoader(_Broken(), num_workers=1)))
    assert "Traceback" in str(caught.value)  # as PyTorch wraps it
    explained = explain_error(caught.value, _settings(), last=None)
    assert str(explained) == "faces/0.jpg: the JPEG is truncated (12 bytes)"


def test_an_error_of_the_process_itself_is_left_as_it_is() -> None:
    explained = explain_error(ImageReadError("faces/0.jpg: no such file"), _settings(), last=None)
    assert str(explained) == "faces/0.jpg: no such file"


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("MPS backend out of memory"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_settings_to_lower(error: Exception) -> None:
    explained = explain_error(error, _settings(batch_size=8, image_size=840), last=None)
    assert isinstance(explained, RetinaFaceError)
    message = str(explained)
    assert message.startswith("out of memory with 8 images of 840 x 840 a step on each device; lower by --set: ")
    assert "data.batch_size=4 with trainer.accumulate_grad_batches=2" in message
    assert "data.image_size=608" in message and "--precision bf16" in message


def test_a_loss_that_is_not_finite_comes_with_advice(tmp_path: Path) -> None:
    last = tmp_path / "last.ckpt"
    error = NonFiniteLossError("the loss became nan at step 7, in the batch of a.jpg")
    without = str(explain_error(error, _settings(), last=last))
    last.touch()
    message = str(explain_error(error, _settings(), last=last))
    assert message.startswith("the loss became nan at step 7, in the batch of a.jpg\n")
    assert f"the checkpoint before it is kept: {last}" in message and str(last) not in without
    assert "lower optimizer.lr (now 0.02), set trainer.gradient_clip_norm=10" in message


def test_names_are_printed_as_they_are_and_reach_no_terminal_raw() -> None:
    console = Console(file=io.StringIO(), record=True, width=200)
    print_notes(console, [Note("unused", "a", "\x1b[31m")], source="runs/[bold]x.yaml")
    text = console.export_text()
    assert "runs/[bold]x.yaml: config of ternaus/retinaface" in text
    assert "\x1b" not in text and r"a: \x1b[31m" in text


@pytest.mark.parametrize("error", [RuntimeError("shape mismatch"), ValueError("x"), KeyError("y")])
def test_a_bug_stays_as_it_is(error: Exception) -> None:
    assert explain_error(error, _settings(), last=None) is error
