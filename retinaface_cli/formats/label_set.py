"""What reading a label file gives: images with their faces, and all that was found wrong with them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from retinaface_cli.faces import ImageLabels

MAX_EXAMPLES = 3
"""Places that a finding names; the others are only counted."""

Action = Literal["mended", "ignored", "dropped", "kept", "asked"]
"""What was done: the value was put right; the face stays but is marked `ignore`; it is gone; it stays as it is; or no
fault at all, but what the caller asked for (a smallest size)."""


@dataclass(frozen=True)
class Finding:
    """One kind of fault, with the number of times that it was met.

    Attributes:
        reason: what is wrong and what was done about it, e.g. "box over the border of the image, clipped".
        action: what was done, in one word.
        count: number of faces (or images, or landmarks: the reason says which).
        examples: the first few places, `file:line` where the format has lines.
    """

    reason: str
    action: Action
    count: int
    examples: tuple[str, ...]

    def describe(self) -> str:
        """One line: reason, count and places."""
        places = ", ".join(self.examples)
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.reason}: {self.count:,} ({places}{more})" if places else f"{self.reason}: {self.count:,}"


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


def merge_findings(groups: Iterable[Iterable[Finding]]) -> tuple[Finding, ...]:
    """Adds up findings of several sources: one entry a reason, in the order of first appearance."""
    merged: dict[tuple[str, str], Finding] = {}
    for group in groups:
        for finding in group:
            key = (finding.reason, finding.action)
            known = merged.get(key)
            if known is not None:
                examples = (known.examples + finding.examples)[:MAX_EXAMPLES]
                finding = Finding(finding.reason, finding.action, known.count + finding.count, examples)
            merged[key] = finding
    return tuple(merged.values())
