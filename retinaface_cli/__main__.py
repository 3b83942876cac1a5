"""The console script `retinaface`, and `python -m retinaface_cli`."""

import gc
import sys


def main() -> None:
    """Runs the command line; Ctrl-C ends it without a traceback while it is being loaded, too."""
    try:
        from retinaface_cli.commands.loading import loading

        with loading():
            from retinaface_cli.cli.app import main as run
    except KeyboardInterrupt:
        sys.exit(130)
    try:
        run()
    finally:
        gc.unfreeze()  # see loading; some libraries complain of what is never collected


if __name__ == "__main__":
    main()
