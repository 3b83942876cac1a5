"""How fast `infer` is on this machine: everything in one run, each figure the median of several turns.

    python examples/benchmarks/run.py IMAGES [-w mobilenet0.25 -w yunet_n] [--turns 3] [-o RESULTS.md]

IMAGES is a folder of images of many sizes, such as WIDER FACE val. Per network and backend, in milliseconds an image at
original size, one image at a time, threshold .02, 32 bits:

* new shape: the forward pass alone, on an image whose shape the backend has not had before;
* forward: the same, on shapes that it has had;
* infer, bf16, rescored: whole `infer` from the first image to the last file, the same in bf16, and with rescoring,
  where backend and network have them;
* 640, batch 8: whole `infer --max-size 640 -b 8`;
* memory: the most that the process of `infer` held, in MB.

Y is the network as trained in torch, NCHW, float32. All of a turn is measured before the next begins. The stages
of `infer` are measured one after another, on one thread, with the first backend that is installed, in 32 bits.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console

from retinaface_cli.commands.infer.run import run
from retinaface_cli.data.preprocessing import Resizer, TestScale, decode_at_scale, load_rgb, read_image_bytes
from retinaface_cli.data.reading import Image
from retinaface_cli.data.sources import find_sources
from retinaface_cli.detection.backends import build_forward_pass
from retinaface_cli.detection.rescoring import can_rescore
from retinaface_cli.detection.results import RESULTS
from retinaface_cli.detection.stages import settle
from retinaface_cli.detection.weights import resolve_weights
from retinaface_cli.faces import RgbImage
from retinaface_cli.files.outputs import OutputFolder
from retinaface_cli.model.checkpoints.loading import load_weights
from retinaface_cli.model.postprocess import postprocess
from retinaface_cli.settings.base import validate_settings
from retinaface_cli.settings.detection import DetectionSettings, InferSettings
from retinaface_cli.version import __version__

BACKENDS = ("torch", "onnx", "openvino")
Figures = dict[str, float]


def read_all(images: str) -> list[RgbImage]:
    return [load_rgb(source.path) for source in find_sources([images]).sources]


def seconds_of(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started


@torch.inference_mode()
def time_plain(images: str, weights: str) -> Figures:
    """The forward passes of the network as trained."""
    network = load_weights(resolve_weights(weights)).build()
    tensors = [torch.from_numpy(image).permute(2, 0, 1).float().contiguous()[None] for image in read_all(images)]
    return {"Y": 1e3 * statistics.mean(seconds_of(lambda x=x: network(x)) for x in tensors)}


@torch.inference_mode()
def time_forward(images: str, weights: str, backend: str) -> Figures:
    """The forward passes of a backend, on new shapes and on those that it has had."""
    settings = DetectionSettings.model_validate({"weights": weights, "backend": backend, "precision": "32"})
    loaded = load_weights(resolve_weights(weights))
    forward = build_forward_pass(loaded, settings, device=torch.device("cpu"), in_parallel=False)
    read = read_all(images)
    is_new = [image.shape not in {one.shape for one in read[:index]} for index, image in enumerate(read)]
    first = [seconds_of(lambda image=image: list(forward([image]))) for image in read]
    again = [seconds_of(lambda image=image: list(forward([image]))) for image in read]
    new = [seconds for seconds, new in zip(first, is_new, strict=True) if new]
    return {"new shape": 1e3 * statistics.mean(new), "forward": 1e3 * statistics.mean(again)}


def time_infer(images: str, weights: str, backend: str, name: str, **options: Any) -> Figures:
    """A whole run, and the most memory that the process held."""
    with tempfile.TemporaryDirectory() as folder:
        values = {
            "inputs": [images],
            "weights": weights,
            "output": f"{folder}/out",
            "accelerator": "cpu",
            "backend": backend,
            "precision": "32",
            "score_threshold": 0.02,
            "coarse_pass": False,
            **options,
        }
        report = run(validate_settings(InferSettings, values, source="benchmark"), console=Console(quiet=True))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {name: 1e3 * report.seconds / report.num_images, "memory": peak}


@torch.inference_mode()
def time_stages(images: str, weights: str) -> Figures:
    """Each stage of `infer` alone, at original size and the benchmark's threshold."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    values = {
        "inputs": [images],
        "weights": weights,
        "precision": "32",
        "score_threshold": 0.02,
        "max_size": "original",
    }
    loaded = load_weights(resolve_weights(weights))
    settings = settle(validate_settings(InferSettings, values, source="benchmark"), loaded)
    forward = build_forward_pass(loaded, settings, device=torch.device("cpu"), in_parallel=True)
    seconds: dict[str, float] = defaultdict(float)

    def timed(name: str, function: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = function()
        seconds[name] += time.perf_counter() - started
        return result

    sources = find_sources([images]).sources
    scales = TestScale.of(settings), TestScale.of(settings.model_copy(update={"max_size": 640}))
    with tempfile.TemporaryDirectory() as folder, OutputFolder.open(Path(folder), identity={}) as output:
        results = RESULTS["each"](output, settings)
        for source in sources:
            data = timed("read", lambda source=source: read_image_bytes(source.path))
            image = timed("decode", lambda data=data: decode_at_scale(data, scales[0], name="", keep_original=False))
            smaller = Resizer.for_scale(image.image.shape[:2], scales[1])
            timed("resize to 640", lambda image=image, smaller=smaller: smaller.resize(image.image))
            ((outputs, anchors),) = timed("forward", lambda image=image: list(forward([image.image])))
            (faces,) = timed("postprocess", lambda o=outputs, a=anchors: postprocess(o, a, settings))
            loaded_image = Image(source, source.name, image.image, image.resizer, None)
            timed("write", lambda image=loaded_image, faces=faces: results.write(image, faces))
    return {name: 1e3 * total / len(sources) for name, total in seconds.items()}


def time_start(images: str, weights: str) -> Figures:
    """`retinaface infer` on one image, as a user starts it."""
    first = find_sources([images]).sources[0].path
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "retinaface_cli", "infer", str(first), "-w", weights, "-o", f"{folder}/out"]
        return {"one image from the start, s": seconds_of(lambda: subprocess.run(command, check=True, stderr=-3))}


def in_own_process(function: Callable[..., Figures], *arguments: Any, **options: Any) -> Figures:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(function, *arguments, **options).result()


def measure_turn(images: str, weights: str, figures: dict[str, dict[str, list[float]]]) -> None:
    """Adds one value to each figure of each backend."""

    def add(row: str, values: Figures) -> None:
        for name, value in values.items():
            figures[row][name].append(value)

    anchors = load_weights(resolve_weights(weights)).network.anchors
    add("", in_own_process(time_plain, images, weights))
    add("", time_start(images, weights))
    add("stages", in_own_process(time_stages, images, weights))
    for backend in BACKENDS:
        add(backend, in_own_process(time_forward, images, weights, backend))
        original = {"max_size": "original", "batch_size": 1}
        small = {"max_size": 640, "batch_size": 8}
        add(backend, in_own_process(time_infer, images, weights, backend, "infer", **original))
        if backend != "onnx":
            add(backend, in_own_process(time_infer, images, weights, backend, "bf16", precision="bf16", **original))
        if can_rescore(anchors):
            add(backend, in_own_process(time_infer, images, weights, backend, "rescored", rescore=True, **original))
        add(backend, in_own_process(time_infer, images, weights, backend, "640, batch 8", **small))


def describe(weights: str, figures: dict[str, dict[str, list[float]]]) -> str:
    """The figures of a network as a table in Markdown."""
    medians = {row: {name: statistics.median(values) for name, values in of.items()} for row, of in figures.items()}
    y = medians[""]["Y"]
    start = medians[""]["one image from the start, s"]
    names = ("new shape", "forward", "infer", "bf16", "rescored", "640, batch 8", "memory")
    lines = [
        f"## {weights}\n",
        f"Y {y:.1f} ms an image; `infer` of one image from its start {start:.1f} s.\n",
        f"| backend | {' | '.join(names)} | infer / forward | infer / Y | bf16 / Y | rescored / infer |",
        f"|---|{'---|' * (len(names) + 4)}",
    ]
    for backend in BACKENDS:
        row = defaultdict(lambda: math.nan, medians[backend])
        ratios = row["infer"] / row["forward"], row["infer"] / y, row["bf16"] / y, row["rescored"] / row["infer"]
        cells = [f"{row[name]:.0f}" if name == "memory" else f"{row[name]:.1f}" for name in names]
        cells += [f"{ratio:.2f}" for ratio in ratios]
        lines.append(f"| {backend} | {' | '.join('-' if cell == 'nan' else cell for cell in cells)} |")
    stages = ", ".join(f"{name} {value:.1f}" for name, value in medians["stages"].items())
    return "\n".join(lines) + f"\n\nStages, one thread: {stages}.\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images")
    parser.add_argument("-w", "--weights", action="append")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("-o", "--output", type=Path)
    options = parser.parse_args()
    capability = torch.backends.cpu.get_cpu_capability()
    num_images = len(find_sources([options.images]).sources)
    text = (
        f"{num_images} images, medians of {options.turns} turns, retinaface-cli {__version__}, "
        f"torch {torch.__version__}, "
        f"{os.cpu_count()} cores ({capability}), {platform.system()}; milliseconds an image.\n"
    )
    for weights in options.weights or ["mobilenet0.25"]:
        figures: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        for _ in range(options.turns):
            measure_turn(options.images, weights, figures)
        text += "\n" + describe(weights, figures)
    print(text)
    if options.output is not None:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
