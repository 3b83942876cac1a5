"""The networks: each turns images into HeadOutputs, is one file, and is one line in NETWORKS."""

from __future__ import annotations

from collections.abc import Callable

from retinaface_cli.model.networks.outputs import FaceNetwork
from retinaface_cli.model.networks.retinaface import RetinaFace
from retinaface_cli.model.networks.yunet import YuNet
from retinaface_cli.settings.network import NetworkSettings

NETWORKS: dict[str, Callable[[NetworkSettings], FaceNetwork]] = {"retinaface": RetinaFace, "yunet": YuNet}
"""Every network by the name that settings and checkpoints use."""


def build_network(settings: NetworkSettings) -> FaceNetwork:
    """The network that the settings describe, randomly initialised."""
    return NETWORKS[settings.network](settings)
