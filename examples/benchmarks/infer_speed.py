"""Whole `infer` against the forward passes alone of the network as trained, on the same images in one run.

    python examples/benchmarks/infer_speed.py IMAGES -w WEIGHTS [--repeats 3] [--backend torch] [--precision 32]
        [--coarse-pass]

Prints seconds an image: (a) the unfolded network in float32, NCHW, forward passes alone at original size; (b) whole
`infer` at original size, threshold .02, one image at a time: reading, network, suppression, writing; its start is
not counted. The two take turns, each time in a fresh process; the ratio (b) / (a) is of the medians.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from retinaface_cli.commands.infer.run import run
from retinaface_cli.data.preprocessing import load_rgb
from retinaface_cli.data.sources import find_sources
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.detection import InferSettings


def time_plain_forward(images: str, weights: Path, **_: Any) -> float:
    """Seconds of all forward passes; reading and normalising are not counted."""
    network = load_weights(weights).build()
    seconds = 0.0
    with torch.inference_mode():
        for source in find_sources([images]).sources:
            image = torch.from_numpy(load_rgb(source.path)).permute(2, 0, 1).float().contiguous()[None] - 114.0
            started = time.perf_counter()
            network(image)
            seconds += time.perf_counter() - started
    return seconds


def time_infer(images: str, weights: Path, **settings: Any) -> float:
    """Seconds of a whole run, from the first image to the last file."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "inputs": [images],
            "weights": str(weights),
            "output": f"{folder}/out",
            "accelerator": "cpu",
            "max_size": "original",
            "score_threshold": 0.02,
            "batch_size": 1,
            **settings,
        }
        return run(validate_settings(InferSettings, values, source="benchmark"), console=Console(quiet=True)).seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("-w", "--weights", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backend", default="auto", help="of infer")
    parser.add_argument("--precision", default="auto", help="of infer")
    parser.add_argument("--coarse-pass", action="store_true", help="of infer")
    options = parser.parse_args()
    settings = {"backend": options.backend, "precision": options.precision, "coarse_pass": options.coarse_pass}
    number = len(find_sources([options.images]).sources)
    plain: list[float] = []
    whole: list[float] = []
    for _ in range(options.repeats):
        for seconds, measure in ((plain, time_plain_forward), (whole, time_infer)):
            with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
                future = process.submit(measure, options.images, options.weights, **settings)
                seconds.append(future.result() / number)
        print(f"plain forward {plain[-1] * 1e3:.1f} ms, whole infer {whole[-1] * 1e3:.1f} ms an image", flush=True)
    a, b = statistics.median(plain), statistics.median(whole)
    print(f"medians: plain forward {a * 1e3:.1f} ms, whole infer {b * 1e3:.1f} ms an image, ratio {b / a:.2f}")


if __name__ == "__main__":
    main()
