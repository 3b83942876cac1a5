"""The console script `retinaface`, and `python -m retinaface_cli`."""

import atexit
import os
import sys


def main() -> None:
    """Runs the command line; Ctrl-C ends it without a traceback while it is being loaded, too."""
    ending = _QuickEnding()
    try:
        from retinaface_cli.commands.loading import loading

        with loading():
            from retinaface_cli.cli.app import main as run
        run()
        ending.status = 0
    except KeyboardInterrupt:
        ending.status = 130
        sys.exit(130)
    except SystemExit as exit_:
        ending.status = exit_.code if isinstance(exit_.code, int) else int(exit_.code is not None)
        raise


class _QuickEnding:
    """Ends the process when all other exit handlers have run: Python would take a second to put away what it loaded.

    Attributes:
        status: of the process.
    """

    def __init__(self) -> None:
        self.status = 1
        atexit.register(self._end)  # the first that is registered runs last

    def _end(self) -> None:
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (AttributeError, OSError, ValueError):
            return  # closed or full: Python says so as it ends
        os._exit(self.status)


if __name__ == "__main__":
    main()
