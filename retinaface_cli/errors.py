"""Errors that a user can resolve, and the one way in which messages show a path or a value.

Every message says where, what was found, and what is wanted or to be done next. The command line prints them as
one line and exits with 1; anything else is a bug and keeps its traceback.
"""

import itertools
import os
import reprlib
from collections.abc import Sequence


class RetinaFaceError(Exception):
    """Base of every error that the user can resolve; its text can be printed, whatever names and values it quotes."""

    def __str__(self) -> str:
        """The message, with characters that cannot be printed as their codes."""
        return "\n".join("".join(map(_escape, line)) for line in super().__str__().split("\n"))


class SettingsError(RetinaFaceError):
    """A setting, option or config file is wrong or contradicts another."""


class LabelFormatError(RetinaFaceError):
    """A label or prediction file cannot be understood; the message starts with `file:line`."""


class CheckpointError(RetinaFaceError):
    """A weights file cannot be found, read, trusted or fitted to a network."""


class ImageReadError(RetinaFaceError):
    """An image or video cannot be read; the message names the file and the reason."""


class FileReadError(RetinaFaceError):
    """A file cannot be read: missing, no regular file, too large or broken; the message starts with its path."""


class OutputError(RetinaFaceError):
    """A result cannot be written, or would take the place of a file that is not the run's own."""


class PlaceTakenError(OutputError):
    """Something that is not the run's own is in the place of one result; it is left as it is, and others can go on."""


def count_of(number: int, noun: str) -> str:
    """`1 image`, `1,200 images`, `2 batches`."""
    ending = "" if number == 1 else "es" if noun.endswith("ch") else "s"
    return f"{number:,} {noun}{ending}"


def shown(value: object, *, max_length: int = 200) -> str:
    """A path, text or other value as a message shows it: on one line, printable and short.

    Args:
        value: paths, texts and bytes come without quotes; other values as their repr, which is cut while it is made.
        max_length: characters that are kept of a long text: its head and its tail.
    """
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if isinstance(value, bytes):
        value = os.fsdecode(value[: 2 * max_length])
    text = value if isinstance(value, str) else _ShortRepr().repr(value)
    if len(text) > max_length:
        tail = max_length // 3
        text = f"{text[: max_length - tail - 3]}...{text[-tail:]}"
    return text if text.isprintable() else "".join(map(_escape, text))


def some_of(names: Sequence[str], *, max_listed: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - max_listed:,} more" if len(names) > max_listed else ""
    return ", ".join(map(shown, names[:max_listed])) + more


def reason_of(error: Exception) -> str:
    """Why something failed, in the words of the system where it has some; printable and short."""
    return shown((error.strerror if isinstance(error, OSError) else None) or str(error))


def _escape(character: str) -> str:
    """The character, or its code where it cannot be printed; a byte of a name that is not UTF-8 as that byte."""
    if character.isprintable():
        return character
    code = ord(character)
    return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else character.encode("unicode_escape").decode()


class _ShortRepr(reprlib.Repr):
    """A repr that visits only the first few items of a value and the first levels of a nested one."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = 80

    def repr_int(self, x: int, level: int) -> str:
        """A number; one of thousands of digits is not written out."""
        return super().repr_int(x, level) if x.bit_length() < 1000 else f"an integer of {x.bit_length()} bits"

    def repr_bytes(self, x: bytes, level: int) -> str:  # noqa: ARG002
        """The first bytes."""
        return repr(x[: self.maxstring])

    def repr_dict(self, x: dict[object, object], level: int) -> str:
        """The first entries in the dict's order."""
        if level <= 0:
            return "{...}"
        keys = list(itertools.islice(x, self.maxdict))
        entries = [f"{self.repr1(key, level - 1)}: {self.repr1(x[key], level - 1)}" for key in keys]
        return "{" + ", ".join([*entries, *["..."] * (len(x) > len(keys))]) + "}"
