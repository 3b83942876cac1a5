"""Counting of faults while a source is read."""

from __future__ import annotations

from retinaface_cli.formats.label_set import MAX_EXAMPLES, Action, Finding


class FindingCounter:
    """Counts faults by reason and keeps the first few places of each."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, Action], int] = {}
        self._examples: dict[tuple[str, Action], list[str]] = {}

    def add(self, reason: str, action: Action, place: str) -> None:
        """Notes one fault at one place."""
        key = (reason, action)
        self._counts[key] = self._counts.get(key, 0) + 1
        examples = self._examples.setdefault(key, [])
        if len(examples) < MAX_EXAMPLES:
            examples.append(place)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """One entry a reason, in the order of first appearance."""
        return tuple(
            Finding(reason, action, count, tuple(self._examples[reason, action]))
            for (reason, action), count in self._counts.items()
        )
