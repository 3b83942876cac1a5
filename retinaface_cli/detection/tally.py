"""How much of a run is done."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from retinaface_cli.data.reading import UnreadableImage
from retinaface_cli.data.sources import make_source


@dataclass
class PredictionTally:
    """What one process has done so far."""

    num_images: int = 0
    num_faces: int = 0
    num_done_before: int = 0
    num_failures: int = 0
    interrupted: bool = False
    failures: list[UnreadableImage] = field(default_factory=list)

    def add_failure(self, failure: UnreadableImage, *, max_listed: int | None) -> None:
        """Counts an image that could not be read, and keeps the first so many; None: all."""
        self.num_failures += 1
        if max_listed is None or len(self.failures) < max_listed:
            self.failures.append(failure)

    def as_json(self, *, with_failures: bool = True) -> dict[str, Any]:
        """The tally as JSON can hold it, for other processes."""
        failures = [(one.name, one.source.location, one.reason) for one in self.failures] if with_failures else []
        return {**vars(self), "failures": failures}

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> PredictionTally:
        """The tally of another process."""
        failures = [
            UnreadableImage(make_source(location, name), reason) for name, location, reason in content["failures"]
        ]
        return cls(**{**content, "failures": failures})

    @classmethod
    def add_up(cls, tallies: Sequence[PredictionTally], *, with_failures: bool) -> PredictionTally:
        """What several processes have done; their failures are listed, or only counted."""
        return cls(
            num_images=sum(one.num_images for one in tallies),
            num_faces=sum(one.num_faces for one in tallies),
            num_done_before=sum(one.num_done_before for one in tallies),
            num_failures=sum(one.num_failures for one in tallies),
            interrupted=any(one.interrupted for one in tallies),
            failures=[failure for one in tallies for failure in one.failures] if with_failures else [],
        )
