"""What reading a label file gives: images with their faces, and all that was found wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retinaface_cli.faces import ImageLabels
from retinaface_cli.formats.table import MAX_EXAMPLES, Action, Finding, merge_findings

__all__ = ["MAX_EXAMPLES", "Action", "Finding", "LabelSet", "merge_findings"]


@dataclass(frozen=True, eq=False)
class LabelSet:
    """The content of a label file or folder, every face checked.

    Attributes:
        images: in the order of the file.
        format_name: a key of READERS: the format that was named or found.
        image_root: folder that the file names are relative to, where the images were found; else None.
        findings: faults of the source, one entry a kind.
        label_files: files that were read, where a folder left it open which of its files they are; else empty.
    """

    images: tuple[ImageLabels, ...]
    format_name: str
    image_root: Path | None
    findings: tuple[Finding, ...]
    label_files: tuple[Path, ...] = ()
