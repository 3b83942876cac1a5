"""Files made to hang a reader or to fill its memory: refused with a reason, within bounds of time and memory."""

from __future__ import annotations

import gzip
import io
import os
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

MILLION = 1_000_000
ZEROS = bytes(80 * MILLION)

_READ = """
import resource, sys, time
from pathlib import Path
from retinaface_cli.errors import CheckpointError
from retinaface_cli.model.checkpoints.loading import load_imagenet_backbone, load_weights

virtual = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (virtual + 1_000_000_000, resource.RLIM_INFINITY))
for path in map(Path, sys.argv[1:]):
    message = ""
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    for load in (load_weights, lambda path: load_imagenet_backbone("mobilenet0.25", path)):
        try:
            load(path)
            print("loaded", path)
        except CheckpointError as error:
            message = message or str(error)
    megabytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1000
    print(path.name, megabytes, round(time.process_time() - start, 1), message, sep="|")
"""


def zipped(members: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()


def pickled(program: bytes, **members: bytes) -> bytes:
    """A file of torch.save with this pickle in it."""
    parts = {f"w/data/{name}": data for name, data in members.items()}
    return zipped({"w/data.pkl": b"\x80\x02" + program + b".", "w/version": b"3\n", **parts})


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def storage(key: str, count: int) -> bytes:
    kind = text("storage") + b"ctorch\nFloatStorage\n"
    return b"(" + kind + text(key) + text("cpu") + b"J" + struct.pack("<i", count) + b"tQ"


def tensor(key: str, count: int, shape: tuple[int, ...], strides: tuple[int, ...]) -> bytes:
    shapes = (b"(" + b"".join(b"J" + struct.pack("<i", size) for size in sizes) + b"t" for sizes in (shape, strides))
    return (
        b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage(key, count) + b"K\x00" + b"".join(shapes) + b"\x89Nt" + b"R"
    )


def doubling(start: bytes, depth: int) -> bytes:
    """A dict with a key of pairs of pairs; its hash and its text take 2**depth steps."""
    pairs = b"".join(b"q" + bytes([n]) + b"h" + bytes([n]) + b"\x86" for n in range(depth))
    return b"}" + start + pairs + b"K\x01s"


def lying() -> bytes:
    """A zip whose weights claim to be 100 bytes long."""
    data = zipped({"weights.pth": ZEROS})
    return data.replace(struct.pack("<I", len(ZEROS)), struct.pack("<I", 100))


ENCODE = b"c_codecs\nencode\nh\x00"
ORDERED = b"ccollections\nOrderedDict\nh\x00\x85R"
STEM = text("body.stage1.0.0.weight")
FILES: Mapping[str, tuple[Callable[[], bytes], str]] = {
    "pairs of text as a key": (lambda: pickled(doubling(text("hello"), 27)), "tuples of tuples as keys"),
    "pairs of numbers as a key": (lambda: pickled(doubling(b"K\x01", 60)), "tuples of tuples as keys"),
    "zip": (lambda: zipped({"weights.pth": ZEROS}), "bytes unpack to 80,000,00"),
    "zip that lies": (lying, "broken or truncated"),
    "zip in zip": (lambda: zipped({"a.zip": zipped({"weights.pth": ZEROS})}), "bytes unpack to 80,000,00"),
    "gzip": (lambda: gzip.compress(ZEROS), "unpacks to more than"),
    "gzip of a zip": (lambda: gzip.compress(zipped({"weights.pth": ZEROS})), "unpack to 80,000,000"),
    "packed storage": (lambda: pickled(b"}", x=ZEROS), "bytes unpack to 80,000,00"),
    "one storage for many weights": (
        lambda: pickled(
            b"}" + b"".join(text(str(n)) + tensor("x", 15 * MILLION, (15 * MILLION,), (1,)) + b"s" for n in range(500)),
            x=ZEROS[: 60 * MILLION],
        ),
        "not the weights",
    ),
    "a tensor larger than its storage": (
        lambda: pickled(b"}" + STEM + tensor("x", 1, (1 << 20, 1 << 20), (0, 0)) + b"s", x=bytes(4)),
        "broken or truncated",
    ),
    "a storage that claims to be large": (
        lambda: pickled(b"}" + STEM + tensor("x", (1 << 31) - 1, (1 << 30,), (1,)) + b"s", x=bytes(4)),
        "broken or truncated",
    ),
    "a bytearray that claims to be large": (
        lambda: pickled(b"c__builtin__\nbytearray\nJ\xff\xff\xff\x7f\x85R"),
        "no weights in it",
    ),
    "a number of the memo that is large": (lambda: pickled(b"}r\xff\xff\xff\x7f"), "no weights in it: found nothing"),
    "one text encoded again and again": (
        lambda: pickled(b"]" + text("x" * 200_000) + b"q\x000(" + (ENCODE + b"X\x06\0\0\0latin1\x86R") * 20_000 + b"e"),
        "no weights in it",
    ),
    "many dicts of one list": (
        lambda: pickled(b"](" + (text("k") + b"N\x86") * 20_000 + b"eq\x00](" + ORDERED * 20_000 + b"e"),
        "no weights in it",
    ),
    "deep lists": (lambda: pickled(b"]" * MILLION + b"a" * (MILLION - 1)), "no weights in it"),
    "too many instructions": (lambda: pickled(b"N0" * (2 * MILLION) + b"N"), "holds too much besides weights"),
    "a long name": (
        lambda: pickled(b"}" + text("\x1b" * MILLION) + tensor("x", 1, (1,), (1,)) + b"s", x=bytes(4)),
        "found \\x1b",
    ),
}


@pytest.mark.skipif(sys.platform != "linux", reason="measures memory as Linux does")
def test_hostile_files_are_refused_within_bounds(tmp_path: Path) -> None:
    names = {}
    for number, (kind, (make, _)) in enumerate(FILES.items()):
        path = tmp_path / f"{number:02}.pth"
        path.write_bytes(make())
        assert path.stat().st_size < 4 * MILLION
        names[path.name] = kind
    command = [sys.executable, "-c", _READ, *sorted(str(tmp_path / name) for name in names)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
    run = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-2000:]
    lines = run.stdout.splitlines()
    assert len(lines) == len(FILES)
    for line in lines:
        name, megabytes, seconds, message = line.split("|", 3)
        kind = names[name]
        assert FILES[kind][1] in message, kind
        assert message.isprintable()
        assert len(message) < 1500
        assert int(megabytes) < 500, kind
        assert float(seconds) < 30, kind


@pytest.mark.shared
@pytest.mark.parametrize("name", ["strbomb.pth", "memobomb3.pth"])
def test_the_hostile_files_that_were_found_are_refused(shared: Path, name: str) -> None:
    command = [sys.executable, "-c", _READ, str(shared / "cases" / "hostile" / name)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "refused, because it holds tuples of tuples as keys" in run.stdout
