"""Measures a training step of this package against the way of the older code, in turns, on the same faces.

The older way: contiguous tensors in NCHW order, one image after another is matched with all anchors, targets are
encoded for all anchors, hard negatives are found by sorting all anchors twice.

Usage: python examples/benchmarks/training_step.py [--batch-size 8] [--image-size 640] [--faces 12] [--threads 2]
"""

from __future__ import annotations

import argparse
import copy
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from retinaface_cli.detection.cpu import keep_freed_memory
from retinaface_cli.geometry.anchors import generate_anchors
from retinaface_cli.geometry.boxes import cxcywh_to_xyxy, encode_boxes, encode_landmarks, pairwise_iou
from retinaface_cli.model.loss import FaceLoss
from retinaface_cli.model.matching.targets import FaceTargets
from retinaface_cli.model.networks import build_network
from retinaface_cli.model.networks.outputs import HeadOutputs
from retinaface_cli.settings.loss import LossSettings
from retinaface_cli.settings.network import NetworkSettings
from retinaface_cli.settings.optimization import EmaSettings, SgdSettings
from retinaface_cli.training.optimization import build_optimizer, move_average


def draw_faces(batch_size: int, faces_a_image: int, image_size: int) -> FaceTargets:
    """Faces of 8 to 300 pixels, most of them small, all with landmarks."""
    generator = torch.Generator().manual_seed(0)
    n = batch_size * faces_a_image
    side = 8 * torch.exp(torch.rand(n, 1, generator=generator) ** 2 * 3.6)
    half = side * torch.tensor([0.5, 0.6])
    center = torch.rand(n, 2, generator=generator) * image_size
    points = center[:, None] + (torch.rand(n, 5, 2, generator=generator) - 0.5) * side[:, None]
    return FaceTargets(
        boxes=torch.cat([center - half, center + half], dim=1),
        landmarks=points,
        has_landmarks=torch.ones(n, 5, dtype=torch.bool),
        ignore=torch.zeros(n, dtype=torch.bool),
        image_index=torch.arange(batch_size).repeat_interleave(faces_a_image),
    )


def old_loss(outputs: HeadOutputs, targets: FaceTargets, anchors: Tensor) -> Tensor:
    """The loss of the older code, in the way it goes about it."""
    corners = cxcywh_to_xyxy(anchors)
    labels, boxes, points = [], [], []
    for image in range(len(outputs.class_logits)):
        mine = targets.image_index == image
        iou = pairwise_iou(targets.boxes[mine], corners)  # (faces, A)
        best_iou, best_face = iou.max(dim=0)
        for face, anchor in enumerate(iou.argmax(dim=1)):
            best_face[anchor], best_iou[anchor] = face, 2.0
        labels.append(best_iou >= 0.35)
        boxes.append(encode_boxes(targets.boxes[mine][best_face], anchors))
        points.append(encode_landmarks(targets.landmarks[mine][best_face], anchors))
    positive, wanted_boxes, wanted_points = torch.stack(labels), torch.stack(boxes), torch.stack(points)
    box = F.smooth_l1_loss(outputs.box_deltas[positive], wanted_boxes[positive], reduction="sum")
    landmark = F.smooth_l1_loss(outputs.landmark_deltas[positive], wanted_points[positive], reduction="sum")
    logits = outputs.class_logits.flatten(0, 1)
    entropy = logits.logsumexp(dim=1) - logits.gather(1, positive.flatten()[:, None].long())[:, 0]
    hardness = entropy.detach().view_as(positive).masked_fill(positive, 0)
    rank = hardness.sort(dim=1, descending=True).indices.sort(dim=1).indices
    num_positives = positive.sum(dim=1, keepdim=True)
    taken = positive | (rank < (7 * num_positives).clamp(max=positive.shape[1] - 1))
    classification = F.cross_entropy(outputs.class_logits[taken], positive[taken].long(), reduction="sum")
    return (2 * box + classification + landmark) / num_positives.sum()


def make_old_step(images: Tensor, targets: FaceTargets) -> Callable[[], None]:
    """Forward and backward of the older way, without an optimizer."""
    settings = NetworkSettings()
    network = build_network(settings).train()
    size = (images.shape[2], images.shape[3])
    anchors = generate_anchors(size, settings.anchors.sizes, settings.anchors.strides)
    normalized = (images.float() - 120).contiguous() / 58

    def step() -> None:
        network.zero_grad()
        old_loss(network(normalized), targets, anchors).backward()

    return step


def make_step(images: Tensor, targets: FaceTargets) -> Callable[[], None]:
    """The whole step of this package: normalising, forward, loss, backward, optimizer, average of the weights."""
    settings = NetworkSettings()
    network = build_network(settings).train().to(memory_format=torch.channels_last)
    optimizer = build_optimizer(network, SgdSettings(), lr=1e-4)
    loss = FaceLoss(LossSettings(), settings)
    average = copy.deepcopy(network).requires_grad_(False)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (settings.preprocessing.mean, settings.preprocessing.std))
    pixels = images.contiguous(memory_format=torch.channels_last)
    size = (images.shape[2], images.shape[3])

    def step() -> None:
        optimizer.zero_grad()
        outputs = network((pixels - mean).div_(std))
        loss(outputs, targets, image_size=size).total.backward()
        optimizer.step()
        move_average(average, network, EmaSettings(), step=1)

    return step


def make_loss_step(images: Tensor, targets: FaceTargets, *, old: bool) -> Callable[[], None]:
    """Matching and loss alone, with their backward pass to the network's outputs."""
    settings = NetworkSettings()
    size = (images.shape[2], images.shape[3])
    anchors = generate_anchors(size, settings.anchors.sizes, settings.anchors.strides)
    shape = (len(images), len(anchors))
    outputs = HeadOutputs(*(torch.randn(*shape, *rest, requires_grad=True) for rest in ((2,), (4,), (5, 2))))
    loss = FaceLoss(LossSettings(), settings)

    def step() -> None:
        for part in outputs:
            part.grad = None
        total = old_loss(outputs, targets, anchors) if old else loss(outputs, targets, image_size=size).total
        total.backward()

    return step


SIDES: dict[str, Callable[[Tensor, FaceTargets], Callable[[], None]]] = {
    "step, older way (forward and backward only)": make_old_step,
    "step": make_step,
    "matching and loss, older way": partial(make_loss_step, old=True),
    "matching and loss": partial(make_loss_step, old=False),
}


def time_side(name: str, options: argparse.Namespace) -> float:
    """Median milliseconds an image, in this process."""
    torch.set_num_threads(options.threads)
    if "older" not in name:
        keep_freed_memory()  # as the training module does on the CPU
    size = options.image_size
    images = torch.randint(0, 256, (options.batch_size, 3, size, size), dtype=torch.uint8)
    step = SIDES[name](images, draw_faces(options.batch_size, options.faces, size))
    seconds = []
    for _ in range(options.repeats + 2):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return 1e3 * statistics.median(seconds[2:]) / options.batch_size


def time_in_turns(arguments: list[str], num_rounds: int) -> dict[str, float]:
    """Median of each side over several rounds of fresh processes, so that a busy machine slows all alike."""
    found: dict[str, list[float]] = {name: [] for name in SIDES}
    for _ in range(num_rounds):
        for name in SIDES:
            command = [sys.executable, __file__, "--side", name, *arguments]
            found[name].append(float(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    return {name: statistics.median(values) for name, values in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8, help="images a step")
    parser.add_argument("--image-size", type=int, default=640, help="side of the images in pixels")
    parser.add_argument("--faces", type=int, default=12, help="faces an image")
    parser.add_argument("--threads", type=int, default=2, help="threads of PyTorch")
    parser.add_argument("--repeats", type=int, default=3, help="steps a process; the median counts")
    parser.add_argument("--rounds", type=int, default=3, help="processes a side; the median counts")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side is not None:
        print(time_side(options.side, options))
        return
    milliseconds = time_in_turns(sys.argv[1:], options.rounds)
    print(f"{options.batch_size} images of {options.image_size} pixels, {options.faces} faces each")
    for name, value in milliseconds.items():
        print(f"{name:46} {value:8.2f} ms an image")
    old, new, *_ = milliseconds.values()
    print(f"step / step of the older way: {new / old:.2f}")


if __name__ == "__main__":
    main()
