"""Expected outputs: read, compared within tolerances, and written anew with GOLDEN_UPDATE=1 in the environment."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from typer.testing import CliRunner

from retinaface_cli.cli.app import app

EXPECTED = Path(__file__).parent / "expected"
MAX_SHOWN = 20
"""Differences that a failure shows."""

MAX_LIST_WIDTH = 100
"""Longest list, in characters, that stands on one line of an expected file."""


@dataclass(frozen=True)
class Tolerance:
    """How far numbers may be from the expected ones.

    Attributes:
        absolute: in the unit of the number.
        relative: as a part of the largest number in the same list.
    """

    absolute: float = 0.0
    relative: float = 0.0


EXACT = Tolerance()


def retinaface(*arguments: str | Path) -> int:
    """Runs the command line in this process, and returns its exit code; what is no error of the user's is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    error = result.exception
    if error is not None and not isinstance(error, SystemExit) and not _is_told_to_the_user(error):
        raise error
    return result.exit_code


def _is_told_to_the_user(error: BaseException) -> bool:
    return type(error).__module__.startswith("retinaface_cli.")


def check_text(name: str, actual: str) -> None:
    """Fails where the text differs from the file `name` of the expected ones."""
    path = EXPECTED / name
    if _is_update():
        _write(path, actual)
    assert actual == path.read_text(encoding="utf-8")


def check_json(name: str, actual: Any, **tolerances: Tolerance) -> None:
    """Fails where values differ from the expected ones.

    Args:
        name: of the expected file, without its ending.
        actual: what JSON can hold.
        tolerances: by the nearest key above a number that has one; `other` is for all others.
    """
    path = EXPECTED / f"{name}.json"
    if _is_update():
        _write(path, _to_text(actual))
    expected = json.loads(path.read_text(encoding="utf-8"))
    found = list(_differences(expected, json.loads(json.dumps(actual)), tolerances))
    assert not found, "\n".join([f"{len(found)} values differ from {path.name}:", *found[:MAX_SHOWN]])


def _is_update() -> bool:
    return os.environ.get("GOLDEN_UPDATE") == "1"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")


def _to_text(value: Any) -> str:
    """JSON with short innermost lists on one line."""
    text = json.dumps(value, indent=1, ensure_ascii=False)
    lists = re.compile(r"\[\n[^\[\]{}]*\n\s*\]")  # a line break is never within a string
    return lists.sub(_join_if_short, text) + "\n"


def _join_if_short(match: re.Match[str]) -> str:
    line = re.sub(r"\n\s*", " ", match[0])
    return line if len(line) <= MAX_LIST_WIDTH else match[0]


def _differences(
    expected: Any,
    actual: Any,
    tolerances: Mapping[str, Tolerance],
    place: str = "",
    tolerance: Tolerance | None = None,
    scale: float = 0.0,
) -> Iterator[str]:
    tolerance = tolerance or tolerances.get("other", EXACT)
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected.keys() != actual.keys():
            yield f"{place}: keys {sorted(actual)} instead of {sorted(expected)}"
        for key in sorted(expected.keys() & actual.keys()):
            inner = tolerances.get(key, tolerance)
            yield from _differences(expected[key], actual[key], tolerances, f"{place}/{key}", inner)
    elif isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            yield f"{place}: {len(actual)} entries instead of {len(expected)}"
        largest = max((abs(value) for value in expected if _is_number(value)), default=0.0)
        for index, (one, other) in enumerate(zip(expected, actual, strict=False)):
            yield from _differences(one, other, tolerances, f"{place}/{index}", tolerance, largest)
    elif _is_number(expected) and _is_number(actual):
        allowed = max(tolerance.absolute, tolerance.relative * max(scale, abs(expected)))
        if not math.isclose(expected, actual, rel_tol=0, abs_tol=allowed):
            yield f"{place}: {actual} instead of {expected}"
    elif expected != actual or type(expected) is not type(actual):
        yield f"{place}: {actual!r} instead of {expected!r}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def relative_files(folder: Path) -> list[str]:
    """All files below the folder but its manifest, as paths relative to it."""
    names = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return sorted(name for name in names if not name.startswith(".retinaface/"))


def read_image(path: Path) -> npt.NDArray[np.uint8]:
    """Decoded pixels, (H, W, 3), blue first."""
    image = cv2.imread(str(path))
    assert image is not None, path
    return image.astype(np.uint8)


def write_image(path: Path, image: npt.NDArray[np.uint8]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image)
    return path


def describe_image(path: Path) -> dict[str, Any]:
    """Size and mean colour, which hold on every processor."""
    image = read_image(path)
    return {
        "size": list(image.shape[:2]),
        "mean_color": [round(value, 2) for value in image.mean(axis=(0, 1)).tolist()],
    }


def read_content(path: Path, *, root: Path) -> Any:
    """A file by value if it is JSON or JSON Lines, else as text; `<ROOT>` stands for the test's own folder."""
    text = path.read_text(encoding="utf-8").replace(str(root), "<ROOT>")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return json.loads(text) if path.suffix == ".json" else text
