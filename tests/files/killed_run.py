"""A run that is killed: writes results to an output folder until all are there. Run by test_outputs.py."""

import sys
from pathlib import Path

from retinaface_cli.files.outputs import OutputFolder

NUM_FILES = 120


def main() -> None:
    """Goes on with the run in the folder named as argument."""
    with OutputFolder.open(Path(sys.argv[1]), identity={"weights": "a"}, mode="resume") as output:
        print("open", flush=True)
        for index in range(NUM_FILES):
            path = output.path("labels", f"d{index % 3}/{index}.jpg", suffix=".json")
            if not output.is_whole(path):
                output.write_json(path, {"index": index, "faces": [[0.5] * 14] * 40})
        output.write_json(output.root / "predictions.json", list(range(NUM_FILES)))


if __name__ == "__main__":
    main()
