from __future__ import annotations

import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from retinaface_cli.data.batches import ValidationSample, collate_validation
from retinaface_cli.data.preprocessing import Resizer
from retinaface_cli.detection.detector import FaceDetector
from retinaface_cli.faces import FaceDetections, FaceLabels
from retinaface_cli.model.checkpoints.loading import LoadedWeights
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.module import FaceTrainingModule
from tests.conftest import REPOSITORY
from tests.training.training_making import (
    FigureRecorder,
    SharedBatches,
    loader_of,
    make_module,
    make_settings,
    make_trainer,
    training_batch,
    validation_batch,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*is smaller than the logging interval"),
    pytest.mark.filterwarnings("ignore:.*but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning"),  # Lightning 2.6 under the newest PyTorch
]

FAST: dict[str, Any] = {"optimizer": {"name": "adamw", "lr": 0.01}, "scheduler": {"name": "one_cycle"}}


def fit(settings: TrainSettings, batches: list[Any], **arguments: Any) -> tuple[FaceTrainingModule, pl.Trainer]:
    module, trainer = make_module(settings), make_trainer(settings, **arguments)
    trainer.fit(module, loader_of(batches))
    return module, trainer


def weights_of(module: FaceTrainingModule) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


@pytest.mark.parametrize("network", ["retinaface", "yunet"])
def test_four_images_are_learned_by_heart(network: str) -> None:
    matching = {"loss__matching": {"name": "atss"}} if network == "yunet" else {}
    settings = make_settings(data__batch_size=4, trainer__max_epochs=1, network__network=network, **matching, **FAST)
    module, trainer = make_module(settings), make_trainer(settings)
    images = [0, 1, 2, 3]
    trainer.fit(module, loader_of([training_batch(images)] * 90), loader_of([validation_batch(images)]))
    assert float(trainer.callback_metrics["val/ap50"]) == 1.0
    assert float(trainer.callback_metrics["val/nme_box"]) < 0.15
    assert float(trainer.callback_metrics["train/loss"]) < 0.5


def train_with(num_processes: int, path: Path) -> dict[str, Any]:
    """Twenty steps of four images a step in all, then validation.

    In float64, because an untrained network multiplies any rounding error tenfold from step to step.
    """
    settings = make_settings(
        data__batch_size=4 // num_processes,
        trainer__max_epochs=1,
        optimizer={"lr": 4e-4, "reference_batch_size": 8, "weight_decay": 5e-4},
        scheduler={"name": "constant", "warmup_epochs": 0.5},
    )
    data = SharedBatches(num_steps=20, global_batch_size=4, validation=[0, 1, 2])
    several = {"devices": num_processes, "strategy": "ddp_spawn"} if num_processes > 1 else {}
    trainer = make_trainer(settings, callbacks=[FigureRecorder(path)], **several)
    trainer.fit(make_module(settings).double(), datamodule=data)
    result: dict[str, Any] = json.loads(path.read_text())
    return result


def test_two_processes_learn_exactly_what_one_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    alone = train_with(1, tmp_path / "one.json")
    monkeypatch.setenv("PYTHONWARNINGS", "ignore")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's advice on process start
        together = train_with(2, tmp_path / "two.json")
    assert len(alone["losses"]) == len(together["losses"]) == 20
    assert alone["losses"][-1] < alone["losses"][0]
    assert together["losses"] == pytest.approx(alone["losses"], abs=1e-6)
    assert together["weights"] == pytest.approx(alone["weights"], abs=1e-8)
    for name, value in alone["figures"].items():
        if name.startswith("val/"):
            assert together["figures"][name] == pytest.approx(value, rel=1e-3)


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    settings = make_settings(data__batch_size=2, trainer__max_epochs=2, scheduler={"warmup_epochs": 1.5})
    batches = [training_batch([0, 1]), training_batch([2, 3]), training_batch([4, 5])]
    whole, _ = fit(settings, batches)
    half_way = make_trainer(settings, callbacks=[StopAfterOneEpoch()])
    first = make_module(settings)
    half_way.fit(first, loader_of(batches))
    half_way.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    resumed, trainer = make_module(settings), make_trainer(settings)
    trainer.fit(resumed, loader_of(batches), ckpt_path=tmp_path / "half.ckpt", weights_only=False)
    assert trainer.global_step == 6
    for name, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.filterwarnings("ignore:.*in eval mode at the start of training")
@pytest.mark.parametrize("frozen", [True, False])
def test_frozen_batch_norm_keeps_its_statistics_and_learns_its_scale(frozen: bool) -> None:
    settings = make_settings(data__batch_size=2, trainer__max_epochs=2, trainer__freeze_batch_norm=frozen, **FAST)
    start = make_module(settings).network.state_dict()
    batches, validation = [training_batch([0, 1]), training_batch([2, 3])], [validation_batch([4])]
    module, trainer = make_module(settings), make_trainer(settings)
    trainer.fit(module, loader_of(batches), loader_of(validation))
    learned = module.network.state_dict()
    for name in ("pyramid.lateral.0.1.running_mean", "pyramid.lateral.0.1.running_var"):
        assert torch.equal(learned[name], start[name]) == frozen
    assert not torch.equal(learned["pyramid.lateral.0.1.weight"], start["pyramid.lateral.0.1.weight"])


class StopAfterOneEpoch(pl.Callback):
    def on_train_epoch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        trainer.should_stop = True


def test_the_average_follows_optimizer_steps_not_batches() -> None:
    settings = make_settings(data__batch_size=1, trainer__max_epochs=1, ema={"decay": 0.5, "warmup_steps": 1})
    module = make_module(settings)
    assert module.average is not None and not any(one.requires_grad for one in module.average.parameters())
    start = weights_of(module)["network.class_heads.0.weight"]
    trainer = make_trainer(settings, accumulate_grad_batches=2)
    trainer.fit(module, loader_of([training_batch([0]), training_batch([1])]))
    assert trainer.global_step == 1
    assert module.global_batch_size == 2
    moved = weights_of(module)
    network, average = moved["network.class_heads.0.weight"], moved["average.class_heads.0.weight"]
    assert not torch.equal(network, start)
    torch.testing.assert_close(average, (start + network) / 2)


def test_weights_for_detection_are_the_averaged_ones_where_there_are_any() -> None:
    with_average = make_module(make_settings())
    with torch.no_grad():
        for parameter in with_average.network.parameters():
            parameter.zero_()
    for module, prefix in ((with_average, "average."), (make_module(make_settings(ema__enabled=False)), "network.")):
        assert module.detection_weights_prefix == prefix
        state = module.detection_state()
        full = module.state_dict()
        assert {prefix + name for name in state} == {name for name in full if name.startswith(prefix)}
        assert all(torch.equal(full[prefix + name], value) for name, value in state.items())
        assert float(state["class_heads.0.weight"].abs().sum()) > 0


def test_images_reach_the_network_in_its_channel_order_and_scale() -> None:
    preprocessing = {"color_order": "bgr", "mean": [104, 117, 123], "std": [1, 2, 4]}
    image = torch.zeros(1, 3, 64, 64, dtype=torch.uint8)
    image[:, 0], image[:, 1], image[:, 2] = 200, 100, 50  # red, green, blue
    for channels_last in (True, False):
        settings = make_settings(network={"preprocessing": preprocessing}, trainer__channels_last=channels_last)
        module = make_module(settings)
        seen: list[Tensor] = []
        module.network.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0]))
        for memory_format in (torch.channels_last, torch.contiguous_format):
            module(image.contiguous(memory_format=memory_format))
        for images in seen:
            assert images[0, :, 0, 0].tolist() == [50 - 104, (100 - 117) / 2, (200 - 123) / 4]
            assert images.is_contiguous(memory_format=torch.channels_last) == channels_last
        assert len(seen) == 2


def test_half_precision_trains_with_a_loss_in_float32() -> None:
    settings = make_settings(data__batch_size=2, trainer__max_epochs=1)
    module, trainer = fit(settings, [training_batch([0, 1])] * 2, precision="bf16-mixed")
    assert trainer.callback_metrics["train/loss"].dtype == torch.float32
    assert all(bool(value.isfinite().all()) for value in module.state_dict().values())


def test_the_learning_rate_is_scaled_and_warms_up() -> None:
    optimizer = {"lr": 0.1, "reference_batch_size": 8}
    settings = make_settings(
        data__batch_size=2,
        trainer__max_epochs=2,
        optimizer=optimizer,
        scheduler={"name": "constant", "warmup_epochs": 1},
    )
    recorder = RateRecorder()
    fit(settings, [training_batch([0, 1])] * 2, callbacks=[recorder])
    assert recorder.rates == pytest.approx([0.025 * 0.001, 0.025 * 0.5005, 0.025, 0.025])


class RateRecorder(pl.Callback):
    def __init__(self) -> None:
        self.rates: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])


COMPILED = """
from tests.training.training_making import loader_of, make_module, make_settings, make_trainer, training_batch
settings = make_settings(data__batch_size=2, trainer__max_epochs=1, trainer__compile=True, ema__enabled=False)
names = make_module(settings).state_dict().keys()
module, trainer = make_module(settings), make_trainer(settings)
trainer.fit(module, loader_of([training_batch([0, 1])] * 2))
assert module.network._compiled_call_impl is not None
assert module.state_dict().keys() == names
print(float(trainer.callback_metrics["train/loss"]))
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_a_compiled_network_learns_the_same_and_is_saved_under_the_same_names() -> None:
    command = [sys.executable, "-W", "ignore", "-c", COMPILED]  # compilation and the checking of shapes do not mix
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=REPOSITORY)
    settings = make_settings(data__batch_size=2, trainer__max_epochs=1, ema__enabled=False)
    _, trainer = fit(settings, [training_batch([0, 1])] * 2)
    assert float(done.stdout.split()[-1]) == pytest.approx(float(trainer.callback_metrics["train/loss"]), rel=1e-3)


def test_validation_finds_what_evaluate_finds_at_that_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = make_settings(trainer__max_epochs=1, validation__score_threshold=0.4)
    module, trainer = make_module(settings), make_trainer(settings)
    sizes = [(50, 75), (64, 33), (330, 250)]  # none a multiple of 32; the last has room for very many faces
    images = [np.random.default_rng(i).integers(0, 256, (*size, 3), dtype=np.uint8) for i, size in enumerate(sizes)]
    samples = [
        ValidationSample(image, Resizer(size, size), FaceLabels.empty(), str(i), i)
        for i, (image, size) in enumerate(zip(images, sizes, strict=True))
    ]
    found: list[FaceDetections] = []
    monkeypatch.setattr(module._recorder, "add", lambda _, faces: found.extend(faces))
    trainer.validate(module, loader_of([collate_validation(samples)]), verbose=False)
    weights = LoadedWeights(Path("x.pt"), settings.network, module.detection_state(), "test", "")
    detector = FaceDetector(weights, EvaluateSettings(score_threshold=0.4, backend="torch"), device="cpu")
    assert len(found[0]) > 0 and len(found[2]) > 750
    for faces, image, sample in zip(found, images, samples, strict=True):
        alone = sample.resizer.restore(detector.detect_resized([image])[0])
        np.testing.assert_allclose(faces.scores, alone.scores, atol=1e-6)
        np.testing.assert_allclose(faces.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(faces.landmarks, alone.landmarks, atol=1e-3)
