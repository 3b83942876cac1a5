"""The number format of a network, spelled alike in every command."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator

LIGHTNING_PRECISIONS: dict[str, Literal["32-true", "16-mixed", "bf16-mixed"]] = {
    "32": "32-true",
    "16": "16-mixed",
    "bf16": "bf16-mixed",
}
"""The words of Lightning."""

_SPELLINGS = {word: name for name, word in LIGHTNING_PRECISIONS.items()} | {"fp32": "32", "fp16": "16"}


def _read_precision(value: object) -> object:
    """Takes the words of Lightning, those of older versions, and the numbers 32 and 16 of YAML."""
    text = str(value)
    return _SPELLINGS.get(text, text)


Precision = Annotated[Literal["32", "16", "bf16"], BeforeValidator(_read_precision)]
"""Number format; Lightning's 32-true, 16-mixed and bf16-mixed, and fp16, mean the same."""

DetectorPrecisionName = Literal["auto", "32", "16", "bf16"]

DetectorPrecision = Annotated[DetectorPrecisionName, BeforeValidator(_read_precision)]
"""As Precision; auto: what is fastest on the device without a loss."""
