"""YAML from files and command lines that nobody has checked: read within bounds, or refused with one message."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from retinaface_cli.errors import FileReadError, RetinaFaceError, shown
from retinaface_cli.files.reading import read_text

_MAX_BYTES = 1 << 24
"""Bound of a YAML file; settings take a few thousand bytes."""


def read_yaml_file(path: Path, *, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of a YAML file in any encoding of reading.read_utf8; None for an empty one.

    Raises:
        error: it cannot be read, or is not YAML.
    """
    return parse_yaml(read_text(path, max_bytes=_MAX_BYTES, error=error), place=shown(path), error=error)


def parse_yaml(text: str, *, place: str, error: type[RetinaFaceError] = FileReadError) -> Any:
    """The value of YAML text.

    Raises:
        error: it is not YAML; the message begins with `place`.
    """
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise error(f"{place}: not valid YAML: nested too deeply") from None
    except Exception as problem:  # PyYAML lets errors of all kinds through where a value does not fit its tag
        reason = " ".join(str(problem)[:1000].split())
        raise error(f"{place}: not valid YAML: {shown(reason)}") from None
