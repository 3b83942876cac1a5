"""Groups of settings that come in kinds, such as optimizers: the key `name` says which kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Discriminator


def chosen_by_name(default: str) -> Discriminator:
    """Picks the kind whose tag is the value's `name`; a mapping without a name means the default kind."""

    def read_name(value: Any) -> str:
        """The tag of a value from YAML, of settings made already, or of a bare name."""
        name = value.get("name", default) if isinstance(value, Mapping) else getattr(value, "name", value)
        return name if isinstance(name, str) else type(name).__name__  # the text of a value may be endless

    return Discriminator(read_name)
