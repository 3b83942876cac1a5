"""Errors that a user can mend.

Every message says where, what was found, and what is wanted or to be done next. The command line prints them as
one line and exits with 1; anything else is a bug and keeps its traceback.
"""


class RetinaFaceError(Exception):
    """Base of every error that the user can mend."""


class SettingsError(RetinaFaceError):
    """A setting, option or config file is wrong or contradicts another."""


class LabelFormatError(RetinaFaceError):
    """A label or prediction file cannot be understood; the message starts with `file:line`."""


class CheckpointError(RetinaFaceError):
    """A weights file cannot be found, read, trusted or fitted to a network."""


class ImageReadError(RetinaFaceError):
    """An image or video cannot be read; the message names the file and the reason."""
