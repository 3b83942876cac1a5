"""The Typer application: options and help, one file a sub-command; imports no torch."""
