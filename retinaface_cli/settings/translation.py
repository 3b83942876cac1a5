"""Reading a config of another tool key by key, so that nothing in it is passed over in silence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from retinaface_cli.errors import SettingsError
from retinaface_cli.settings.base import assign

NoteKind = Literal["mapped", "changed", "unused"]


@dataclass(frozen=True)
class Note:
    """What became of one key of an old config.

    Attributes:
        kind: mapped: used under another name; changed: used, but it works differently; unused: without effect.
        key: dotted key in the old file.
        text: for the user to read.
    """

    kind: NoteKind
    key: str
    text: str


class Translation:
    """Collects new values and notes while an old config is read key by key."""

    def __init__(self, old: Mapping[str, Any], *, source: str) -> None:
        self.values: dict[str, Any] = {}
        self.notes: list[Note] = []
        self.source = source
        self._left = {key: dict(value) if isinstance(value, Mapping) else value for key, value in old.items()}

    def take(self, key: str, *, default: Any = None) -> Any:
        """Removes a dotted key from what is left to read and returns its value."""
        *parents, last = key.split(".")
        group: Any = self._left
        for parent in parents:
            group = group.get(parent, {})
            if not isinstance(group, dict):
                raise SettingsError(f"{self.source}: {parent}: expected a group of settings, got {group!r}")
        return group.pop(last, default)

    def put(self, key: str, value: Any) -> None:
        """Sets a dotted key of the new settings."""
        assign(self.values, key, value)

    def note(self, kind: NoteKind, key: str, text: str) -> None:
        """Keeps a note for the user."""
        self.notes.append(Note(kind, key, text))

    def map(self, old: str, new: str) -> None:
        """Moves a value to another key, where the old config has it."""
        value = self.take(old)
        if value is not None:
            self.put(new, value)
            if old != new:
                self.note("mapped", old, f"{new}: {value}")

    def drop(self, old: str, reason: str) -> None:
        """Leaves a key out, where the old config has it."""
        value = self.take(old)
        if value is not None:
            self.note("unused", old, reason)

    def drop_rest(self) -> None:
        """Leaves out all keys that nobody has read, each with a note."""
        for key, value in self._left.items():
            for name in value if isinstance(value, dict) else (None,):
                dotted = key if name is None else f"{key}.{name}"
                self.note("unused", dotted, "not known here; see retinaface train --print-config for what is")
        self._left = {}
