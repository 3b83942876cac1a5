"""Names of results, from names that nobody has checked, and of temporary files."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from pathlib import Path

RESERVED = ".retinaface"
"""Names that begin like this are the writer's own."""

UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters, and what stands for bytes that are not UTF-8."""

UNPRINTABLE_NAME = "its name holds control characters or is not UTF-8"

TEMPORARY_PREFIX = f"{RESERVED}-tmp-"
"""What the names of all temporary files and folders begin with."""

FORMER_SUFFIX = ".old"
"""Ending of a folder that is about to be replaced."""

_MAX_COMPONENT_BYTES = 240
_MAX_NAME_BYTES = 1000
_MARKED = re.compile("~[0-9a-f]{16}$")


def safe_name(name: str, *, suffix: str, keep_suffix: bool = False) -> str:
    """The relative path of the result that is made of the image `name`.

    It depends on nothing else, so that several processes agree, and two names never have the same result: a name that
    must be changed gets a hash of what it was, `~` and 16 digits. Drive and root are removed, `..` is resolved and ends
    at the output folder, what cannot be printed or is not UTF-8 becomes `_`, what is too long is shortened.

    Args:
        name: of an image, as an input, list or label file names it.
        suffix: ending of the result, which is added to the name; empty for a folder.
        keep_suffix: whether a name that ends with `suffix` stays as it is: `a/x.jpg` for `a/x.jpg`, and `a/x.png.jpg`
            for `a/x.png`.
    """
    parts = _resolve(name)
    parts = [UNPRINTABLE.sub("_", part) for part in parts]
    parts = [f"_{part}" if part.lower().startswith(RESERVED) else part for part in parts]
    # a folder must not have the name of a result: `a.jpg` and `a.jpg.json/b.jpg` are two inputs
    parts = [*(f"{part}~" if suffix and part.endswith(suffix) else part for part in parts[:-1]), *parts[-1:]]
    parts = [*(_shorten(part, _MAX_COMPONENT_BYTES) for part in parts[:-1]), *parts[-1:]]
    if sum(len(part.encode()) + 1 for part in parts) > _MAX_NAME_BYTES:
        parts = parts[-1:]
    leaf = parts[-1] if parts else "_"
    stem, kept = _split_suffix(leaf, suffix) if keep_suffix else (leaf, True)
    is_changed = "/".join(parts) != name or not kept or _MARKED.search(stem) is not None
    mark = ""
    if is_changed or len((stem + suffix).encode()) > _MAX_COMPONENT_BYTES:
        mark = "~" + hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        stem = _shorten(stem, _MAX_COMPONENT_BYTES - len((mark + suffix).encode()))
    return "/".join([*parts[:-1], stem + mark + suffix])


def _resolve(name: str) -> list[str]:
    """The components of a name without drive, root, `.` and `..`."""
    parts: list[str] = []
    for part in re.sub("^[A-Za-z]:", "", name.replace("\\", "/")).split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _split_suffix(leaf: str, suffix: str) -> tuple[str, bool]:
    """What `suffix` is added to, and whether that alone makes two names differ."""
    stem, dot, ending = leaf.rpartition(".")
    inner = stem.rpartition(".")
    if dot and dot + ending == suffix and stem and not (inner[1] and any(map(str.isalpha, inner[2]))):
        return stem, True
    return leaf, bool(stem) and any(map(str.isalpha, ending))


def _shorten(text: str, max_bytes: int) -> str:
    """The beginning of a text, cut between two characters."""
    return text.encode()[:max_bytes].decode(errors="ignore")


def temporary_path(path: Path, suffix: str) -> Path:
    """A new temporary name beside a path."""
    return path.with_name(f"{temporary_prefix(path)}{secrets.token_hex(6)}{suffix if len(suffix) < 20 else ''}")


def temporary_prefix(path: Path) -> str:
    """What all temporary names for a path begin with, in every process."""
    return f"{TEMPORARY_PREFIX}{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:12]}-"
