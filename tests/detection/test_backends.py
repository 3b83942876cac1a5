"""The backends behind one call."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch

from retinaface_cli.detection.backends import build_forward_pass
from retinaface_cli.detection.backends.image_network import ImageNetwork
from retinaface_cli.detection.backends.onnx_export import export_onnx
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.model.networks.outputs import face_logits
from retinaface_cli.settings.detection import DetectionSettings


def test_many_images_in_32_bits_go_through_onnx_runtime_and_single_ones_through_openvino() -> None:
    weights = load_weights(resolve_weights("yunet"))
    settings = DetectionSettings.model_validate({"weights": "yunet", "precision": "32"})
    for in_parallel, description in ((True, "ONNX Runtime, 32"), (False, "OpenVINO, 32")):
        forward = build_forward_pass(weights, settings, device=torch.device("cpu"), in_parallel=in_parallel)
        assert forward.description == description


@pytest.mark.parametrize("size", [(75, 131), (64, 96)])
def test_images_that_are_padded_before_the_graph_get_the_outputs_of_the_network(size: tuple[int, int]) -> None:
    weights = load_weights(resolve_weights("yunet"))
    graph = onnx.load_from_string(export_onnx(ImageNetwork(weights, is_padded=True))).graph
    assert not any(node.op_type == "Pad" for node in graph.node)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    with torch.inference_mode():
        wanted = weights.build().eval()(torch.from_numpy(image[..., ::-1].copy()).permute(2, 0, 1).float()[None])
    for backend in ("onnx", "openvino"):
        settings = DetectionSettings.model_validate({"weights": "yunet", "backend": backend, "precision": "32"})
        forward = build_forward_pass(weights, settings, device=torch.device("cpu"), in_parallel=False)
        ((outputs, _),) = forward([image])
        scores = torch.sigmoid(face_logits(outputs))[0]
        is_inside = face_logits(outputs)[0] > -torch.inf
        assert int(is_inside.sum()) == wanted.class_logits.shape[1]
        torch.testing.assert_close(scores[is_inside], torch.sigmoid(face_logits(wanted))[0], atol=1e-4, rtol=0)
        torch.testing.assert_close(outputs.box_deltas[:, is_inside], wanted.box_deltas, atol=1e-3, rtol=1e-4)


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
