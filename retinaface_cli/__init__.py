"""Find faces and their five landmarks with RetinaFace networks."""

from retinaface_cli.version import __version__

__all__ = ["__version__"]
