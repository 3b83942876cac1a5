from __future__ import annotations

import torch

from retinaface_cli.model.loss.class_prior import set_class_prior
from retinaface_cli.model.networks.retinaface import build_network
from retinaface_cli.settings.network import AnchorSettings, NetworkSettings


def test_before_training_every_anchor_has_the_prior_probability_of_a_face() -> None:
    anchors = AnchorSettings(sizes=((16, 24, 32), (64, 96, 128), (256, 384, 512)))
    network = build_network(NetworkSettings(anchors=anchors))
    with torch.no_grad():
        for head in network.class_heads.parameters():
            head.zero_()
        set_class_prior(network, 0.02)
        scores = network.eval()(torch.zeros(1, 3, 64, 64)).class_logits.softmax(dim=2)[..., 1]
    torch.testing.assert_close(scores, torch.full_like(scores, 0.02))
