"""Training and validation steps of a RetinaFace network, for Lightning."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.distributed as dist
from jaxtyping import Float, UInt8
from pytorch_lightning.utilities.types import OptimizerLRScheduler
from torch import Tensor

from retinaface_cli.data.batches import TrainingBatch, ValidationBatch
from retinaface_cli.detection.cpu import keep_freed_memory
from retinaface_cli.faces import FaceDetections
from retinaface_cli.formats.wider_ground_truth import read_wider_ground_truth
from retinaface_cli.model.loss import FaceLoss, LossValues
from retinaface_cli.model.matching.targets import FaceTargets
from retinaface_cli.model.networks.inference import InferenceNetwork
from retinaface_cli.model.networks.outputs import FaceNetwork, HeadOutputs
from retinaface_cli.model.postprocess import postprocess
from retinaface_cli.settings.evaluation import EvaluateSettings
from retinaface_cli.settings.training import TrainSettings
from retinaface_cli.training.batch_norm import freeze_batch_norm, synchronize_batch_norm
from retinaface_cli.training.optimization import (
    adopt_settings,
    build_optimizer,
    build_scheduler,
    move_average,
    scale_learning_rate,
)
from retinaface_cli.training.validation import ValidationRecorder


class FaceTrainingModule(pl.LightningModule):
    """A network in training, with the moving average of its weights where the settings ask for it.

    Attributes:
        network: the network in training.
        average: the same with averaged weights; None where there is no average.
        start_figures: what a whole validation before the first step measured; empty where there was none.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, settings: TrainSettings, network: FaceNetwork) -> None:
        """Makes the module.

        Args:
            settings: of the whole run; its `network` is what `network` was built from.
            network: with its start weights.

        Raises:
            LabelFormatError: the WIDER FACE ground truth that the settings name cannot be read.
        """
        super().__init__()
        self.settings = settings
        self.network = network
        self.average = copy.deepcopy(network).requires_grad_(False) if settings.ema.enabled else None
        self._loss = FaceLoss(settings.loss, settings.network)
        preprocessing = settings.network.preprocessing
        self.register_buffer("mean", torch.tensor(preprocessing.mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(preprocessing.std).view(3, 1, 1), persistent=False)
        self._epoch_losses: list[Tensor] = []
        validation = settings.validation
        folder = validation.wider_ground_truth
        self._recorder = ValidationRecorder(None if folder is None else read_wider_ground_truth(folder))
        self._validation_network: InferenceNetwork | None = None
        self._evaluate_settings = EvaluateSettings(
            score_threshold=validation.score_threshold, nms_iou_threshold=validation.nms_iou_threshold
        )
        self.start_figures: dict[str, float] = {}

    @property
    def detection_weights_prefix(self) -> str:
        """Start of the names, in a checkpoint, of the weights that faces are to be found with."""
        return "network." if self.average is None else "average."

    def detection_state(self) -> dict[str, Tensor]:
        """The weights that faces are to be found with, on the CPU."""
        state = (self.average or self.network).state_dict()
        return {name: value.detach().cpu().clone() for name, value in state.items()}

    def setup(self, stage: str) -> None:
        """Makes the network ready for the devices of the run."""
        if stage != "fit":
            return
        trainer_settings = self.settings.trainer
        if self.trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        if trainer_settings.freeze_batch_norm:
            freeze_batch_norm(self.network)
        elif trainer_settings.sync_batchnorm and self.trainer.world_size > 1:
            synchronize_batch_norm(self.network, device_type=self.trainer.strategy.root_device.type)
        if trainer_settings.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if trainer_settings.compile:
            self.network.compile()

    @property
    def global_batch_size(self) -> int:
        """Images an optimizer step, over all devices and accumulated batches."""
        per_device = self.settings.data.batch_size * self.trainer.accumulate_grad_batches
        return per_device * self.trainer.world_size

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Optimizer and schedule, stepped together."""
        optimizer = build_optimizer(self.network, self.settings.optimizer, lr=self._learning_rate)
        max_epochs = self.trainer.max_epochs or 1
        scheduler = build_scheduler(
            optimizer,
            self.settings.scheduler,
            steps_per_epoch=max(self.trainer.estimated_stepping_batches / max_epochs, 1),
            max_epochs=max_epochs,
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    @property
    def _learning_rate(self) -> float:
        return scale_learning_rate(self.settings.optimizer, global_batch_size=self.global_batch_size)

    def on_train_start(self) -> None:
        """Puts the settings of a resumed run in force; the checkpoint brought those that it was written with."""
        if self.trainer.ckpt_path is not None:
            scheduler = self.lr_schedulers()
            adopt_settings(scheduler, self.network, self.settings.optimizer, lr=self._learning_rate)  # type: ignore[arg-type]

    def forward(self, images: UInt8[Tensor, "B 3 H W"]) -> HeadOutputs:
        """Raw outputs of the network in training for RGB images with values of 0 to 255."""
        outputs: HeadOutputs = self.network(self._normalize(images))
        return outputs

    def training_step(self, batch: TrainingBatch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        height, width = batch.images.shape[2:]
        targets = FaceTargets(batch.boxes, batch.landmarks, batch.has_landmarks, batch.ignore, batch.image_index)
        values = self._loss(self(batch.images), targets, image_size=(height, width))
        losses = _mean_over_processes(torch.stack(values).detach())
        self._epoch_losses.append(losses)
        rate = self.trainer.optimizers[0].param_groups[0]["lr"]
        self.log_dict({**_named(losses), "lr": torch.tensor(rate, dtype=torch.float64)}, batch_size=len(batch))
        return values.total

    @property
    def last_loss(self) -> Tensor:
        """The loss of the last step, over all processes; it stays on the device."""
        return self._epoch_losses[-1][0]

    def mean_losses(self) -> dict[str, Tensor]:
        """The mean losses of the running epoch by the names of the single steps' losses."""
        return _named(torch.stack([loss.to(self.device) for loss in self._epoch_losses]).mean(dim=0))

    def on_train_epoch_end(self) -> None:
        """Logs the mean losses of the epoch."""
        if self._epoch_losses:
            self.log_dict({f"{name}_epoch": value for name, value in self.mean_losses().items()}, sync_dist=True)
        self._epoch_losses = []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps the losses of an unfinished epoch, so that its means are right when training goes on."""
        checkpoint["epoch_losses"] = [loss.cpu() for loss in self._epoch_losses]

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes over what on_save_checkpoint kept."""
        self._epoch_losses = list(checkpoint["epoch_losses"])

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step of the weights and, after it, of their average."""
        super().optimizer_step(*args, **kwargs)
        if self.average is not None:
            move_average(self.average, self.network, self.settings.ema, step=self.trainer.global_step)

    def on_validation_epoch_start(self) -> None:
        """Makes the network that is measured, the one that `infer` and `evaluate` run."""
        network = self.network if self.average is None else self.average
        dtype = next(network.parameters()).dtype
        self._validation_network = InferenceNetwork(network, self.settings.network, device=self.device, dtype=dtype)

    def validation_step(  # type: ignore[override]  # callbacks want the faces
        self, batch: ValidationBatch, batch_idx: int
    ) -> list[FaceDetections]:
        """The faces found in a batch, in pixels of the original images."""
        assert self._validation_network is not None
        with torch.autocast(self.device.type, enabled=False):
            outputs, anchors = self._validation_network([image.numpy() for image in batch.images])
        found = postprocess(outputs, anchors, self._evaluate_settings)
        restored = [resizer.restore(faces) for resizer, faces in zip(batch.resizers, found, strict=True)]
        self._recorder.add(batch, restored)
        return restored

    def on_validation_epoch_end(self) -> None:
        """Logs the figures of the whole validation."""
        self._validation_network = None
        figures = {f"val/{name}": value for name, value in self._recorder.measure().items()}
        if self.trainer.sanity_checking and self.trainer.num_sanity_val_steps == float("inf"):  # nothing is logged then
            self.start_figures = {name: float(np.float32(value)) for name, value in figures.items()}  # as it logs them
        self.log_dict(figures, sync_dist=True)  # equal in all processes already

    def _normalize(self, images: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """RGB images with values of 0 to 255 as the network wants them."""
        if self.settings.network.preprocessing.color_order == "bgr":
            images = images.flip(1)
        is_last = self.settings.trainer.channels_last
        images = images.contiguous(memory_format=torch.channels_last if is_last else torch.contiguous_format)
        return (images - self.mean).div_(self.std)


def _named(losses: Float[Tensor, "4"]) -> dict[str, Tensor]:
    """The losses by the names that loggers and callbacks know; in the order of LossValues."""
    names = ("train/loss", "train/box_loss", "train/classification_loss", "train/landmark_loss")
    assert len(names) == len(LossValues._fields)
    return dict(zip(names, losses, strict=True))


def _mean_over_processes(losses: Tensor) -> Tensor:
    """The losses of the global batch; changes the tensor."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(losses)
        losses /= dist.get_world_size()
    return losses
