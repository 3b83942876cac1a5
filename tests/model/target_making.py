"""Targets and outputs for the tests of matching and loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from retinaface_cli.model.matching.targets import FaceTargets
from retinaface_cli.model.networks.outputs import HeadOutputs


def make_targets(
    boxes: Sequence[Sequence[float]] | Tensor,
    *,
    images: Sequence[int] | None = None,
    ignore: Sequence[bool] | None = None,
    landmarks: Tensor | None = None,
    has_landmarks: Tensor | None = None,
) -> FaceTargets:
    """Targets with the given boxes; by default all in image 0, none ignored, without landmarks."""
    n = len(boxes)
    return FaceTargets(
        boxes=torch.as_tensor(boxes, dtype=torch.float32).reshape(n, 4),
        landmarks=torch.full((n, 5, 2), torch.nan) if landmarks is None else landmarks,
        has_landmarks=torch.zeros(n, 5, dtype=torch.bool) if has_landmarks is None else has_landmarks,
        ignore=torch.tensor(ignore if ignore is not None else [False] * n, dtype=torch.bool),
        image_index=torch.tensor(images if images is not None else [0] * n, dtype=torch.int64),
    )


def random_targets(
    num_faces: int, *, batch_size: int, image_side: float, seed: int, ignored: float = 0.0
) -> FaceTargets:
    """Faces of all sizes and shapes, some of them reaching out of the image."""
    generator = torch.Generator().manual_seed(seed)
    center = torch.rand(num_faces, 2, generator=generator) * image_side
    side = torch.exp(torch.rand(num_faces, 1, generator=generator) * 4.5 + 1.2)
    half = side * torch.exp(torch.rand(num_faces, 2, generator=generator) * 1.6 - 0.8) / 2
    landmarks = center[:, None] + (torch.rand(num_faces, 5, 2, generator=generator) - 0.5) * side[:, None]
    return FaceTargets(
        boxes=torch.cat([center - half, center + half], dim=1),
        landmarks=landmarks,
        has_landmarks=torch.rand(num_faces, 5, generator=generator) < 0.7,
        ignore=torch.rand(num_faces, generator=generator) < ignored,
        image_index=torch.randint(0, batch_size, (num_faces,), generator=generator),
    )


def random_outputs(batch_size: int, num_anchors: int, *, seed: int, dtype: torch.dtype = torch.float32) -> HeadOutputs:
    """Outputs as of an untrained network, which want a gradient."""
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(batch_size, num_anchors, *shape, generator=generator, dtype=dtype).requires_grad_()

    return HeadOutputs(draw(2), draw(4), draw(5, 2))
