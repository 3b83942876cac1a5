"""What `infer` writes for each image; a kind of results is one file.

`each.py` writes files for each image.
"""

from retinaface_cli.detection.results.base import Results
from retinaface_cli.detection.results.each import EachResults

__all__ = ["EachResults", "Results"]
