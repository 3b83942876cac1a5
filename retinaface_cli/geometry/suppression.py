"""Non-maximum suppression: torchvision's operator, without what else `import torchvision` loads."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Float, Int64
from torch import Tensor


def nms(boxes: Float[Tensor, "K 4"], scores: Float[Tensor, "K"], iou_threshold: float) -> Int64[Tensor, "M"]:
    """Indices of the boxes that no better one overlaps by more than the threshold, best first.

    Boxes are xyxy in pixels of one frame, whichever it is. Nothing but IoU and order of scores counts.
    """
    return _operator()(boxes, scores, iou_threshold)


@lru_cache
def _operator() -> Callable[[Tensor, Tensor, float], Tensor]:
    """The operator, from torchvision's library alone: the package imports torch._dynamo, a second and 160 MB."""
    package = importlib.util.find_spec("torchvision")
    for folder in (package and package.submodule_search_locations) or ():
        for library in Path(folder).glob("_C*"):
            try:
                torch.ops.load_library(library)  # type: ignore[no-untyped-call]
            except OSError:  # made for another torch, as torchvision says in better words
                break
    if not hasattr(torch.ops.torchvision, "nms"):
        import torchvision  # noqa: F401 (brings the operator)
    operator: Callable[[Tensor, Tensor, float], Tensor] = torch.ops.torchvision.nms
    return operator
