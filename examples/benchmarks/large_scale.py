"""Memory, open files and speed of `infer --save parts` over many images, and its start on a list of millions of names.

    python examples/benchmarks/large_scale.py shards -w WEIGHTS [--num-images 100000] [--num-shards 100]
    python examples/benchmarks/large_scale.py list -w WEIGHTS [--num-names 5000000] [--seconds 30]

`shards` makes tar shards of JPEG images of 256 pixels and runs `infer --max-size 256 --save parts` over them, and after
it a bare loop over a part of the same images in one process: reading the tar, decoding, the same detector one image
after the other. It prints images a second of both, resident memory in the second and in the last tenth of the run (from
the first part on), and the largest and smallest number of open files after the first tenth. `list` prints the seconds
from the start of the command until its first part is there, and the largest resident memory within so many seconds,
with and without the files of libraries that are mapped into it; all for a list of 1,000 names, too, which is what the
libraries take. Linux alone: the figures come from /proc.
"""

from __future__ import annotations

import argparse
import io
import json
import signal
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

_NUM_DISTINCT = 500


class Sample(NamedTuple):
    """The state of a process: seconds since its start, resident MB, those that are no part of a file, open files."""

    seconds: float
    megabytes: float
    own_megabytes: float
    num_files: int


def make_shards(folder: Path, *, num_images: int, num_shards: int) -> None:
    """Writes shards of blurred noise with bright ovals; the names of all images differ."""
    chance = np.random.default_rng(0)
    encoded = []
    for _ in range(_NUM_DISTINCT):
        image = cv2.resize(chance.integers(0, 256, (32, 32, 3), np.uint8), (256, 256))
        center, axes = chance.integers(60, 196, 2).tolist(), chance.integers(20, 60, 2).tolist()
        cv2.ellipse(image, center, axes, 0, 0, 360, (160, 190, 230), -1)
        encoded.append(cv2.imencode(".jpg", image)[1].tobytes())
    for shard in range(num_shards):
        with tarfile.open(folder / f"{shard:06d}.tar", "w") as tar:
            for index in range(shard, num_images, num_shards):
                header = tarfile.TarInfo(f"{index:08d}.jpg")
                data = encoded[index % _NUM_DISTINCT]
                header.size = len(data)
                tar.addfile(header, io.BytesIO(data))


def run_infer(inputs: list[str], output: Path, weights: str, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "retinaface_cli", "infer", *inputs, "-w", weights, "-o", str(output)]
    return subprocess.Popen([*command, "--max-size", "256", "--save", "parts", "--accelerator", "cpu", *options])


def watch(process: subprocess.Popen[bytes], *, is_over: Callable[[], bool] = lambda: False) -> Iterator[Sample]:
    """The state of a process every half second until it ends."""
    started = time.monotonic()
    while process.poll() is None and not is_over():
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
            megabytes, own = (int(status.split(f"{name}:")[1].split()[0]) / 1000 for name in ("VmRSS", "RssAnon"))
            num_files = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        except (OSError, IndexError):  # it has just ended
            return
        yield Sample(time.monotonic() - started, megabytes, own, num_files)
        time.sleep(0.5)


def run_bare_loop(folder: Path, weights: str, *, num_images: int) -> float:
    """Images a second of a loop without anything else."""
    from retinaface_cli import FaceDetector
    from retinaface_cli.data.preprocessing import decode_rgb

    detector = FaceDetector.load(weights, device="cpu", max_size=256, precision="auto")
    number, started = 0, 0.0
    for path in sorted(folder.glob("*.tar")):
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                if number == 20:
                    started = time.perf_counter()  # the first ones are slower
                data = tar.extractfile(member)
                assert data is not None
                detector.detect(decode_rgb(data.read(), name=member.name))
                number += 1
                if number == num_images + 20:
                    return num_images / (time.perf_counter() - started)
    return (number - 20) / (time.perf_counter() - started)


def measure_shards(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    shards = folder / "shards"
    shards.mkdir()
    make_shards(shards, num_images=options.num_images, num_shards=options.num_shards)
    process = run_infer([str(shards)], folder / "out", options.weights)
    parts = folder / "out" / "parts"
    samples = [sample for sample in watch(process) if parts.is_dir() and any(parts.iterdir())]
    assert process.wait() == 0
    times = sorted(path.stat().st_mtime for path in parts.iterdir())
    per_shard = options.num_images / options.num_shards
    speed = per_shard * (len(times) - 1) / (times[-1] - times[0])
    tenth = len(samples) // 10
    bare = run_bare_loop(shards, options.weights, num_images=min(options.num_images // 10, 5000))
    return {
        "images_a_second": speed,
        "bare_images_a_second": bare,
        "ratio": speed / bare,
        "megabytes_second_tenth": statistics.mean(sample.megabytes for sample in samples[tenth : 2 * tenth]),
        "megabytes_last_tenth": statistics.mean(sample.megabytes for sample in samples[-tenth:]),
        "fewest_files": min(sample.num_files for sample in samples[tenth:-4]),
        "most_files": max(sample.num_files for sample in samples[tenth:-4]),
    }


def measure_list(options: argparse.Namespace, folder: Path) -> dict[str, dict[str, float]]:
    (folder / "archive" / "00000").mkdir(parents=True)
    image = np.zeros((256, 256, 3), np.uint8)
    for index in range(0, 1000, 100):
        cv2.imwrite(str(folder / "archive" / "00000" / f"{index:09d}.jpg"), image)
    return {f"{number:,} names": run_list(options, folder, number) for number in (1000, options.num_names)}


def run_list(options: argparse.Namespace, folder: Path, num_names: int) -> dict[str, float]:
    """Runs `infer` on a list of so many names, of which ten are there, for some seconds."""
    with (folder / "list.txt").open("w") as file:
        file.writelines(f"archive/{index // 1000:05d}/{index:09d}.jpg\n" for index in range(num_names))
    output = folder / f"out{num_names}"
    process = run_infer([f"@{folder}/list.txt"], output, options.weights)
    samples: list[Sample] = []
    first = 0.0
    for sample in watch(process, is_over=lambda: bool(samples) and samples[-1].seconds > options.seconds):
        samples.append(sample)
        if not first and list(output.glob("parts/part-*")):
            first = sample.seconds
    process.send_signal(signal.SIGINT)
    process.wait()
    num_parts = len(list((output / "parts").iterdir()))
    return {
        "seconds_to_first_part": first or samples[-1].seconds,
        "largest_megabytes": max(sample.megabytes for sample in samples),
        "largest_own_megabytes": max(sample.own_megabytes for sample in samples),
        "num_parts": num_parts,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=["shards", "list"])
    parser.add_argument("-w", "--weights", required=True)
    parser.add_argument("--num-images", type=int, default=100_000)
    parser.add_argument("--num-shards", type=int, default=100)
    parser.add_argument("--num-names", type=int, default=5_000_000)
    parser.add_argument("--seconds", type=float, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure = measure_shards if options.kind == "shards" else measure_list
        print(json.dumps(measure(options, Path(folder)), indent=1))


if __name__ == "__main__":
    main()
