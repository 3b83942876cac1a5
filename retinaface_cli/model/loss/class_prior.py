"""Start of the class heads for losses that take in every anchor."""

from __future__ import annotations

import math

import torch

from retinaface_cli.model.networks.retinaface import RetinaFace

FACE_PRIOR = 0.01
"""Share of anchors taken for faces by an untrained network, as in the focal loss paper (Lin et al., 2017, 4.1)."""


@torch.no_grad()
def set_class_prior(network: RetinaFace, probability: float = FACE_PRIOR) -> None:
    """Sets the biases of the class heads so that, before training, faces have this probability everywhere.

    Without it the background, by far the most of the anchors, would drown everything else in the first steps.
    """
    margin = math.log(probability / (1 - probability))
    for head in network.class_heads.children():
        assert isinstance(head, torch.nn.Conv2d) and head.bias is not None
        background_and_face = head.bias.view(-1, 2)  # (sizes, 2)
        background_and_face[:, 0], background_and_face[:, 1] = -margin / 2, margin / 2
