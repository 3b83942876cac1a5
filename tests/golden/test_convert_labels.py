"""Every format that is read, in every format that is written."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.formats.label_samples import NAMES, OTHER_NAMES, SOURCES, write_images
from tests.golden.golden import check_json, read_content, relative_files, retinaface

OUTPUTS = {
    "json": "out.json",
    "jsonl": "out.jsonl",
    "coco": "out.json",
    "yolo": "out",
    "retinaface": "out.txt",
    "wider": "out.txt",
    "csv": "out.csv",
}


def convert(source: Path, output_format: str, root: Path, *options: str | Path) -> dict[str, Any]:
    """The exit code, and the content of all files written."""
    folder = root / "written"
    code = retinaface("convert-labels", source, folder / OUTPUTS[output_format], "--to", output_format, *options)
    names = [name for name in relative_files(folder) if not name.startswith((".retinaface/", "out/.retinaface/"))]
    files = {name: read_content(folder / name, root=root) for name in names if not (folder / name).is_symlink()}
    return {"exit_code": code, "files": files}


@pytest.mark.parametrize("name", SOURCES)
def test_labels_are_converted_to_every_format_as_ever(name: str, tmp_path: Path) -> None:
    source = SOURCES[name](tmp_path / "source")
    converted = {to: convert(source, to, tmp_path / to) for to in OUTPUTS}
    images = write_images(tmp_path / "images", [*NAMES, *OTHER_NAMES])
    converted["yolo with --images"] = convert(source, "yolo", tmp_path / "sized", "--images", images)
    check_json(f"convert_labels/{name}", converted)
