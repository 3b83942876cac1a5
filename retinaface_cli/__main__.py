"""`python -m retinaface_cli`: the same as the console script `retinaface`."""

from retinaface_cli.cli.app import main

if __name__ == "__main__":
    main()
