"""Averages two detectors of the same network: a start, and what was trained on from it.

    python examples/average_weights.py START TRAINED -o averaged.safetensors [--share 0.2] [--half]

After fine-tuning on few pictures the average is often better than either of the two: it has most of what was learned,
and less of what was forgotten (Wortsman et al., "Robust fine-tuning of zero-shot models", CVPR 2022). START and TRAINED
are files or names, as with `retinaface infer -w`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from torch import Tensor

from retinaface_cli.engine.weights import resolve_weights
from retinaface_cli.errors import CheckpointError, RetinaFaceError
from retinaface_cli.model.checkpoints import LoadedWeights, load_weights, save_weights


def average(start: LoadedWeights, trained: LoadedWeights, share: float) -> dict[str, Tensor]:
    """The weights (1 - share) x start + share x trained; the share is in [0, 1].

    Raises:
        CheckpointError: the two are of unlike networks, or of pictures that are prepared in unlike ways.
    """
    if start.network != trained.network:
        raise CheckpointError(f"{trained.path} is not of the same network, anchors and preprocessing as {start.path}")
    return {
        name: tensor.lerp(trained.state[name], share)
        for name, tensor in start.state.items()
        if tensor.is_floating_point()  # not the steps that BatchNorm has counted
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("start")
    parser.add_argument("trained")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a .safetensors file")
    parser.add_argument("--share", type=float, default=0.2, help="of the trained weights, in [0, 1]")
    parser.add_argument("--half", action="store_true", help="store convolutions in 16 bits")
    options = parser.parse_args()
    if not 0 <= options.share <= 1:
        parser.error(f"--share {options.share}: expected a number from 0 to 1")
    try:
        start, trained = (load_weights(resolve_weights(name)) for name in (options.start, options.trained))
        training = {
            "average": {start.path.name: 1 - options.share, trained.path.name: options.share},
            "start": dict(start.training),
            "trained": dict(trained.training),
        }
        state = average(start, trained, options.share)
        save_weights(options.output, state, network=start.network, training=training, half=options.half)
    except RetinaFaceError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
