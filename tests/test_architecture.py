"""The rules of the house, checked on the source: who may import whom, and which library is used where."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "retinaface_cli"

LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"errors", "process", "version"}),
    frozenset({"faces", "files"}),
    frozenset({"geometry", "formats", "settings"}),
    frozenset({"data", "model", "evaluation", "visualization"}),
    frozenset({"detection", "training"}),
    frozenset({"commands"}),
    frozenset({"cli"}),
    frozenset({"__init__", "__main__"}),
)
"""From right to left of the map in the design: a part imports from lower levels and from itself only."""

SIDEWAYS = {("training", "detection")}
"""Validation runs the code of detection."""

TORCH_FREE = ("cli", "settings", "formats", "evaluation", "visualization", "faces", "errors", "files", "version")

ALLOWED_PLACES = {
    "albumentations": ("data/augmentations.py",),
    "cv2": ("data/", "visualization", "detection/", "training/loggers/"),
    "pytorch_lightning": ("training/", "data/datamodule.py", "commands/train/"),
    "lightning_fabric": ("training/", "commands/train/", "commands/infer/launch.py"),
    "torchvision": ("model/", "geometry/suppression.py"),
    "typer": ("cli/",),
    "matplotlib": ("visualization",),
}

BROUGHT_ALONG = {"pydantic_core": "pydantic"}
"""Libraries that are part of another one, which is the dependency."""


def _level(part: str) -> int:
    return next(i for i, names in enumerate(LEVELS) if part in names)


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def _files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def _imports(path: Path) -> Iterator[str]:
    """Full names of all modules imported anywhere in the file, inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module_imports_only_from_lower_levels_or_its_own_folder(path: Path) -> None:
    part = _part(path)
    for name in _imports(path):
        if not name.startswith("retinaface_cli."):
            continue
        target = name.split(".")[1]
        if target == part or part.startswith("__"):
            continue
        allowed = _level(target) < _level(part) or (part, target) in SIDEWAYS
        assert allowed, f"{path}: {part} must not import {target}"


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_library_is_imported_only_in_its_place(path: Path) -> None:
    place = path.relative_to(PACKAGE).as_posix()
    for name in _imports(path):
        library = name.split(".")[0]
        allowed = ALLOWED_PLACES.get(library)
        assert allowed is None or place.startswith(allowed), f"{place}: {library} belongs in {allowed}"
        if place.split("/")[0].removesuffix(".py") in TORCH_FREE:
            heavy = ("torch", "torchvision", "pytorch_lightning", "lightning_fabric")
            assert library not in heavy, f"{place}: must not import torch"


LONG_FILES = {"legacy.py": 380, "coco.py": 400, "yolo.py": 410, "table.py": 360, "visualize.py": 380, "outputs.py": 315}
"""Files that are one thing each and longer than the others: formats, their table, a command, the writer."""


@pytest.mark.parametrize("path", _files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_no_file_is_longer_than_300_lines_and_no_function_than_60(path: Path) -> None:
    source = path.read_text(encoding="utf-8")
    assert source.count("\n") <= LONG_FILES.get(path.name, 300)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            assert (node.end_lineno or 0) - node.lineno + 1 <= 60, f"{path}:{node.lineno} {node.name}"


def _imports_on_loading(node: ast.AST) -> Iterator[str]:
    """Top-level names of the modules that are imported when a file is, not only when one of its functions is called."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield (child.module or "").split(".")[0]
        elif not isinstance(child, ast.FunctionDef):
            yield from _imports_on_loading(child)


def test_what_a_plain_installation_imports_is_installed_with_it() -> None:
    tomllib = pytest.importorskip("tomllib")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    required = {re.split(r"[<>=!~ \[]", line)[0] for line in project["dependencies"]}
    distributions = packages_distributions()
    for path in _files():
        for library in _imports_on_loading(ast.parse(path.read_text(encoding="utf-8"))):
            if library == "retinaface_cli" or library in sys.stdlib_module_names:
                continue
            names = {name.lower() for name in distributions.get(BROUGHT_ALONG.get(library, library), [])}
            assert required & names, f"{path}: {library} is no dependency in pyproject.toml"


def test_the_command_line_starts_without_torch() -> None:
    code = "import sys, retinaface_cli.cli.app; sys.exit(any(m in sys.modules for m in ('torch', 'cv2', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
