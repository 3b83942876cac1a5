"""The backends behind one call."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from retinaface_cli.detection.backends import build_forward_pass
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.settings.detection import DetectionSettings


@pytest.mark.parametrize(("size", "num_a_pass"), [((480, 640), [1, 1, 1, 1, 1]), ((512, 512), [2, 2, 1])])
def test_on_the_cpu_torch_takes_large_images_one_by_one(size: tuple[int, int], num_a_pass: list[int]) -> None:
    weights = load_weights(resolve_weights("yunet"))
    settings = DetectionSettings.model_validate({"weights": "yunet", "backend": "torch", "precision": "32"})
    forward = build_forward_pass(weights, settings, device=torch.device("cpu"), in_parallel=False)
    images = [np.full((*size, 3), value, np.uint8) for value in range(0, 250, 50)]
    with torch.inference_mode():
        passes = [outputs.class_logits for outputs, _ in forward(images)]
        alone = [outputs.class_logits for image in images for outputs, _ in forward([image])]
    assert [len(logits) for logits in passes] == num_a_pass
    torch.testing.assert_close(torch.cat(passes), torch.cat(alone), atol=1e-4, rtol=0)
