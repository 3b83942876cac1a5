"""Label and prediction files <-> the table of faces, one file a family.

`read_labels` and `read_predictions` find out the format, read a file or folder and check every face; `write_labels`
and `write_predictions` write. READERS and WRITERS name the formats.
"""

from retinaface_cli.formats.reading import (
    read_label_files,
    read_labels,
    read_labels_with_own_names,
    read_predictions,
)
from retinaface_cli.formats.recognition import READERS
from retinaface_cli.formats.table import FaceTable, Finding
from retinaface_cli.formats.writing import WRITERS, PredictionFormat, prediction_lines, write_labels, write_predictions

__all__ = [
    "READERS",
    "WRITERS",
    "FaceTable",
    "Finding",
    "PredictionFormat",
    "prediction_lines",
    "read_label_files",
    "read_labels",
    "read_labels_with_own_names",
    "read_predictions",
    "write_labels",
    "write_predictions",
]
