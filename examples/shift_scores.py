"""Shifts the scores of single anchor sizes of a detector, so that they mean the same for small and for large faces.

    python examples/shift_scores.py WEIGHTS --by 8@4=0.5 --by 128@16=-1.5 -o OUTPUT.safetensors [--half]

SIZE@STRIDE names the anchors; the number is added to the logit of their faces. How often a network takes something else
for a face at a score of .7 depends on the anchor; measure it on pictures without faces.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import Tensor

from retinaface_cli.engine.weights import resolve_weights
from retinaface_cli.errors import CheckpointError, RetinaFaceError
from retinaface_cli.model.checkpoints import LoadedWeights, load_weights, save_weights
from retinaface_cli.settings.network import AnchorSettings


def shift(weights: LoadedWeights, by: dict[str, float]) -> dict[str, Tensor]:
    """The weights with shifted biases.

    Args:
        weights: of a detector.
        by: name of the anchors, e.g. "16@8" -> what is added to the logit of their faces.

    Raises:
        CheckpointError: there are no such anchors.
    """
    places = name_anchors(weights.network.anchors)
    state = {name: value.clone() for name, value in weights.state.items()}
    for name, difference in by.items():
        if name not in places:
            raise CheckpointError(f"{weights.path} has no anchors {name}; there are {', '.join(places)}")
        bias_name, slot = places[name]
        num_sizes = weights.network.anchors.num_per_cell
        state[bias_name].view(num_sizes, 2, -1)[slot, 1] += difference  # (sizes, 2, cells of one head)
    return state


def name_anchors(anchors: AnchorSettings) -> dict[str, tuple[str, int]]:
    """SIZE@STRIDE -> the bias of the class head that scores these anchors, and which of its sizes they are."""
    coarse = len(anchors.strides) - 3  # the index of the level of stride 8
    return {
        f"{size:g}@{stride}": ("fine.class_head.bias" if level < coarse else f"class_heads.{level - coarse}.bias", slot)
        for level, (stride, sizes) in enumerate(zip(anchors.strides, anchors.sizes, strict=True))
        for slot, size in enumerate(sizes)
    }


def _read_shift(text: str) -> tuple[str, float]:
    name, _, difference = text.partition("=")
    return name, float(difference)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights")
    parser.add_argument("--by", type=_read_shift, action="append", required=True, metavar="SIZE@STRIDE=LOGIT")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--half", action="store_true", help="store convolutions in 16 bits")
    options = parser.parse_args()
    try:
        weights = load_weights(resolve_weights(options.weights))
        by = dict(options.by)
        training = {**weights.training, "shifted_scores": by}
        save_weights(options.output, shift(weights, by), network=weights.network, training=training, half=options.half)
    except RetinaFaceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
