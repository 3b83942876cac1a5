"""Callbacks of the training; one file a callback."""
