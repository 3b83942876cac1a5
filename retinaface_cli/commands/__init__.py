"""One workflow a sub-command: the only place where settings become objects."""
