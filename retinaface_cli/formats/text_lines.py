"""Text files full of numbers: lines as byte ranges, and all numbers of many lines read in one go."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retinaface_cli.errors import LabelFormatError
from retinaface_cli.formats.face_table import Float64Array, IntArray
from retinaface_cli.formats.values import parse_number

_MAX_PLAIN = 15
"""Characters of a number that is read in bulk: so many digits are exact in float64."""

_POWERS = 10.0 ** np.arange(_MAX_PLAIN + 1)


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
        word_starts: (W,) offset of each word of the file.
        word_lengths: (W,) its length in bytes.
    """

    path: Path
    data: bytes
    starts: IntArray
    ends: IntArray
    num_words: IntArray
    word_starts: IntArray
    word_lengths: IntArray

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
    is_space = (codes == ord(" ")) | ((codes >= ord("\t")) & (codes <= ord("\r")))
    ends = np.flatnonzero(codes == ord("\n"))
    if len(data) and (not len(ends) or ends[-1] != len(data) - 1):
        ends = np.append(ends, len(data))
    starts = np.concatenate(([0], ends[:-1] + 1))[: len(ends)].astype(np.intp)
    is_edge = np.diff(is_space, prepend=True, append=True)  # each word begins and ends at one
    edges = np.flatnonzero(is_edge)
    word_starts, word_lengths = edges[::2], np.diff(edges)[::2]
    num_words = np.diff(np.searchsorted(word_starts, np.append(starts, len(data))))
    return TextLines(path, data, starts, ends.astype(np.intp), num_words, word_starts, word_lengths)


def read_numbers(lines: TextLines, selected: npt.NDArray[np.bool_]) -> Float64Array:
    """All numbers of the selected lines, one after the other; `nan` and `inf` are numbers here.

    Args:
        lines: the file.
        selected: (L,) lines that hold nothing but numbers between spaces.

    Raises:
        LabelFormatError: the place of the first word that is no number.
    """
    is_wanted = np.repeat(selected, lines.num_words)
    starts, lengths = lines.word_starts[is_wanted], lines.word_lengths[is_wanted]
    values, is_plain = _parse_plain(np.frombuffer(lines.data, np.uint8), starts, lengths)
    for i in np.flatnonzero(~is_plain).tolist():
        word = lines.data[starts[i] : starts[i] + lengths[i]].decode("utf-8", errors="replace")
        line = int(np.searchsorted(lines.starts, starts[i], side="right")) - 1
        values[i] = parse_number(word, lines.place(line))
    return values


def _parse_plain(
    codes: npt.NDArray[np.uint8], starts: IntArray, lengths: IntArray
) -> tuple[Float64Array, npt.NDArray[np.bool_]]:
    """The numbers that W words stand for, and which words are plain: a sign, digits and a point, and not too long.

    Words of one length are read together, digit by digit. The digits of a plain word are a whole number below 2^53,
    and so is the power of ten that it is divided by: the quotient is the float64 nearest to the word.
    """
    values = np.zeros(len(starts))
    is_plain = np.zeros(len(starts), np.bool_)
    for length in np.flatnonzero(np.bincount(lengths, minlength=1)[: _MAX_PLAIN + 1]).tolist():
        index = np.flatnonzero(lengths == length)
        at = starts[index]
        is_negative = codes[at] == ord("-")
        digits = np.zeros(len(index), np.int64)
        num_digits, num_decimals, num_points = (np.zeros(len(index), np.uint8) for _ in range(3))
        for column in range(length):
            code = codes[at + column]
            is_digit = code - np.uint8(ord("0")) < 10  # what is below "0" wraps around
            digits = np.where(is_digit, digits * 10 + (code - np.uint8(ord("0"))), digits)
            num_digits += is_digit
            num_decimals += is_digit & (num_points > 0)
            num_points += code == ord(".")
        is_plain[index] = (num_digits > 0) & (num_points < 2) & (num_digits + num_points + is_negative == length)
        unsigned = digits / _POWERS[num_decimals]
        values[index] = np.where(is_negative, -unsigned, unsigned)
    return values, is_plain


def rows_of(values: Float64Array, offsets: IntArray, num_columns: int) -> Float64Array:
    """(K, num_columns) of the numbers that begin at the K offsets."""
    return np.take(values, offsets[:, None] + np.arange(num_columns))
