"""Training of the fine level alone, taught by the rest of the network."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from retinaface_cli.data.batches import TrainingBatch
from retinaface_cli.engine.training_module import FaceTrainingModule, flatten_targets
from retinaface_cli.model.fine_level_loss import FineLevelLoss
from retinaface_cli.model.folding import fold_batch_norm
from retinaface_cli.model.loss_parts import LossValues
from retinaface_cli.model.outputs import HeadOutputs
from retinaface_cli.model.retinaface import RetinaFace, level_outputs
from retinaface_cli.settings.training import TrainSettings


class _Teacher:
    """The network as it starts; no module of Lightning's, for checkpoints need not hold it a second time."""

    def __init__(self, network: RetinaFace) -> None:
        folded = fold_batch_norm(network).requires_grad_(False)
        self._network = folded.to(memory_format=torch.channels_last)

    def see(self, images: Float[Tensor, "B 3 H W"]) -> tuple[Float[Tensor, "B C H4 W4"], Float[Tensor, "B P H8 W8"]]:
        """The backbone's map of stride 4 and the pyramid's of stride 8, on which the fine level stands."""
        finest, *features = self._network.backbone(images)
        return finest, self._network.pyramid(features)[0]

    def answer(self, images: Float[Tensor, "B 3 H W"]) -> HeadOutputs:
        """What the level of stride 8 says of the pictures at twice the size."""
        larger = F.interpolate(images, scale_factor=2, mode="bilinear", align_corners=False)
        level = self._network.context[0](self.see(larger)[1])
        return level_outputs(self._network.coarse_heads[0], level)


class FineLevelTrainingModule(FaceTrainingModule):
    """A network whose fine level is in training while all else stays as it is, BatchNorm statistics included."""

    def __init__(self, settings: TrainSettings, network: RetinaFace) -> None:
        """Makes the module; see FaceTrainingModule."""
        super().__init__(settings, network)
        self._fine_level_loss = FineLevelLoss(settings.loss.weights, settings.network.anchors)
        self._teacher: _Teacher | None = None

    def setup(self, stage: str) -> None:
        """Makes the network ready for the devices of the run, and all but the fine level immovable."""
        super().setup(stage)
        for name, part in self.network.named_children():
            if name != "fine":
                part.requires_grad_(False).eval()

    def on_train_start(self) -> None:
        """Takes the teacher from the network, which by now has its start weights or those of a checkpoint."""
        self._teacher = _Teacher(self.network)

    def losses(self, batch: TrainingBatch) -> LossValues:
        """The losses of a batch against the teacher."""
        assert self._teacher is not None and self.network.fine is not None
        height, width = batch.images.shape[2:]
        images = self.normalize(batch.images)
        with torch.no_grad():
            finest, above = self._teacher.see(images)
            taught = self._teacher.answer(images)
        learned = self.network.fine.outputs(self.network.fine(finest, above), image_size=(height, width))
        return self._fine_level_loss(learned, taught, flatten_targets(batch), image_size=(height, width))
