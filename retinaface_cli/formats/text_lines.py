"""Text files full of numbers: lines as byte ranges, and all numbers of many lines read in one go."""

from __future__ import annotations

import gzip
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import Float64Array, IntArray

_SPACE = ord(" ")
_MISSING_MARK = b"-1.0"
"""What stands half of the time in files of landmarks, and need not be parsed again and again."""


def read_bytes(path: Path) -> bytes:
    """The content of a file, unpacked if it is gzipped, without a byte order mark.

    Raises:
        LabelFormatError: the file cannot be read or unpacked, or is UTF-16.
    """
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise LabelFormatError(f"{path}: cannot be read: {error}") from None
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise LabelFormatError(f"{path}:1: expected UTF-8 text, got UTF-16; save the file as UTF-8")
    return data.removeprefix(b"\xef\xbb\xbf")


@dataclass(frozen=True, eq=False)
class TextLines:
    """A text file cut into L lines and its words counted.

    Attributes:
        path: for messages.
        data: the whole file.
        starts: (L,) offset of each line.
        ends: (L,) offset behind each line, its line end left out.
        num_words: (L,) words between spaces of each line.
        word_starts: offset of each word of the file.
    """

    path: Path
    data: bytes
    starts: IntArray
    ends: IntArray
    num_words: IntArray
    word_starts: IntArray

    def __len__(self) -> int:
        return len(self.starts)

    def text(self, line: int) -> str:
        """One line without spaces at its ends; lines are counted from 0.

        Raises:
            LabelFormatError: the line is not UTF-8.
        """
        raw = self.data[self.starts[line] : self.ends[line]]
        try:
            return raw.decode("utf-8").strip()
        except UnicodeDecodeError:
            raise LabelFormatError(f"{self.place(line)}: expected UTF-8 text, got {raw[:60]!r}") from None

    def place(self, line: int) -> str:
        """`file:line` of a line counted from 0."""
        return f"{self.path}:{line + 1}"

    def begins_with(self, character: str) -> npt.NDArray[np.bool_]:
        """(L,) whether each line begins with the character, which is ASCII and no space."""
        first = np.frombuffer(self.data, np.uint8)[self.starts]
        return np.equal(first, ord(character))


def read_lines(path: Path) -> TextLines:
    """Reads a text file and finds its lines and words.

    Raises:
        LabelFormatError: the file cannot be read.
    """
    data = read_bytes(path)
    codes = np.frombuffer(data, np.uint8)
    is_space = codes <= _SPACE  # control characters too, which the parser of the numbers then refuses
    ends = np.flatnonzero(codes == ord("\n"))
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)].astype(np.intp)
    is_word_start = ~is_space
    is_word_start[1:] &= is_space[:-1]
    word_starts = np.flatnonzero(is_word_start)
    num_words = np.diff(np.searchsorted(word_starts, np.append(starts, len(data))))
    return TextLines(path, data, starts, ends.astype(np.intp), num_words, word_starts)


def read_numbers(lines: TextLines, selected: npt.NDArray[np.bool_]) -> Float64Array:
    """All numbers of the selected lines, one after the other; `nan` and `inf` are numbers here.

    Args:
        lines: the file.
        selected: (L,) lines that hold nothing but numbers between spaces.

    Raises:
        LabelFormatError: the place of the first word that is no number.
    """
    num_wanted = int(lines.num_words[selected].sum())
    if not num_wanted:
        return np.zeros(0)
    codes = np.frombuffer(lines.data + b" ", np.uint8).copy()
    for line in np.flatnonzero(~selected & (lines.num_words > 0)).tolist():
        codes[lines.starts[line] : lines.ends[line]] = _SPACE
    starts = lines.word_starts[np.repeat(selected, lines.num_words)]
    is_missing = _blank_missing_marks(codes, starts)
    parsed = _parse(codes.tobytes(), num_wanted - int(is_missing.sum()))
    if parsed is None:
        raise LabelFormatError(_find_bad_word(lines, selected))
    values = np.full(num_wanted, -1.0)
    values[~is_missing] = parsed
    return values


def _blank_missing_marks(codes: npt.NDArray[np.uint8], starts: IntArray) -> npt.NDArray[np.bool_]:
    """Overwrites those of the W words that are the missing mark by spaces; (W,) which they are."""
    index = np.arange(len(starts))
    for i, code in enumerate(_MISSING_MARK):
        index = index[codes[starts[index] + i] == code]  # a word that is too short ends in another character
    index = index[codes[starts[index] + len(_MISSING_MARK)] <= _SPACE]
    for i in range(len(_MISSING_MARK)):
        codes[starts[index] + i] = _SPACE
    is_missing = np.zeros(len(starts), np.bool_)
    is_missing[index] = True
    return is_missing


def _parse(text: bytes, num_wanted: int) -> Float64Array | None:
    """The numbers of a text, None if they are not that many."""
    if not num_wanted:
        return np.zeros(0)  # numpy makes a number of spaces alone
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # older numpy warns of bad text, and returns a part
            values: Float64Array = np.fromstring(text, sep=" ")
    except ValueError:
        return None
    return values if len(values) == num_wanted else None


def _find_bad_word(lines: TextLines, selected: npt.NDArray[np.bool_]) -> str:
    """The message for the first word that is no number."""
    for line in np.flatnonzero(selected).tolist():
        for word in lines.text(line).split():
            try:
                float(word)
            except ValueError:
                return f"{lines.place(line)}: expected a number, got {word[:40]!r}"
            if not word.isascii() or "_" in word or "\0" in word:
                return f"{lines.place(line)}: expected a number, got {word[:40]!r}"
    return f"{lines.path}: expected numbers between spaces"


def rows_of(values: Float64Array, offsets: IntArray, num_columns: int) -> Float64Array:
    """(K, num_columns) of the numbers that begin at the K offsets."""
    return np.take(values, offsets[:, None] + np.arange(num_columns))
