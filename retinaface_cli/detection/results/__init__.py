"""What `infer` writes; a kind of results is one file.

`each.py` writes files for each image, `parts.py` parts with a row an image.
"""

from retinaface_cli.detection.results.base import Results
from retinaface_cli.detection.results.each import EachResults
from retinaface_cli.detection.results.parts import PartResults

RESULTS: dict[str, type[Results]] = {"each": EachResults, "parts": PartResults}
"""The values of `--save`."""

__all__ = ["RESULTS", "EachResults", "PartResults", "Results"]
