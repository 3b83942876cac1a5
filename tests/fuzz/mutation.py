"""What all fuzz targets share: numbers of cases, wrong bytes, a limit of time, and a watch over files."""

from __future__ import annotations

import hashlib
import random
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from retinaface_cli.errors import RetinaFaceError

NUM_LONG = 5000
MAX_SECONDS = 60  # of the clock: on a busy machine 2 s of work take 20
"""Of one case; more is taken for a hang."""

TOKENS = (
    *(b"NaN", b"-1", b"1e999", b"1e30", b"9" * 400, b"null", b"true", b'""', b"[]", b"{}", b"\0", b"\xff\xfe", b"\n"),
    *(b"\r", b",", b"\t", b"#", b"../../x", b"/", b"\xf0\x9f\x98\x80", b"\\ud800", b"[" * 3000, b"<a>", b"&x;", b"0x1"),
    *(b"!!int ''", b"2020-01-01", b"*a", b" " * 50, b"\x1b[31m", b"1_0", b"\xe2\x80\xa8", b"Infinity", b"-0", b"1.5.2"),
)


def numbers_of_cases(short: int) -> pytest.MarkDecorator:
    """Runs a test with `count` cases: a few always, 5,000 with `-m slow`."""
    return pytest.mark.parametrize("count", [short, pytest.param(NUM_LONG, marks=pytest.mark.slow)])


def mutate(data: bytes, chance: random.Random) -> bytes:
    """The data with a few bytes or tokens changed, cut, doubled or left out."""
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((0, 1, 1, 2, 8, 40)))
        kind = chance.randrange(5)
        if kind == 0:
            data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
        elif kind == 1:
            data = data[:at] + chance.choice(TOKENS) + data[end:]
        elif kind == 2:
            data = data[:at] + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:end] * 3 + data[end:]
        else:
            data = data[:at] if chance.random() < 0.3 else data[:at] + data[at:end][::-1] + data[end:]
    return data


def mutated_files(files: Sequence[Path], seed: str, count: int) -> Iterator[Path]:
    """Again and again another of the files has wrong bytes; it comes, and is mended before the next."""
    originals = {path: path.read_bytes() for path in files}
    chance = random.Random(seed)
    for _ in range(count):
        path = chance.choice(files)
        path.write_bytes(mutate(originals[path], chance))
        yield path
        path.write_bytes(originals[path])


def is_refused(function: Callable[[], object]) -> bool:
    """Whether an error of ours comes, printable and short; any other error, or too long a time, fails the test."""
    try:
        with time_limit():
            function()
    except RetinaFaceError as error:
        text = str(error).replace("\n", "")
        assert text.isprintable()
        assert len(text) < 3000
        return True
    return False


@contextmanager
def time_limit(seconds: float = MAX_SECONDS) -> Iterator[None]:
    """Fails where the block takes longer."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise AssertionError(f"not done after {seconds} seconds")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def contents(folder: Path) -> dict[str, str]:
    """Every file and link below a folder with a hash of what it holds."""
    return {
        path.relative_to(folder).as_posix(): f"-> {path.readlink()}"
        if path.is_symlink()
        else hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
