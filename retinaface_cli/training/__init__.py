"""Training: the Lightning module, its callbacks, loggers and run folder."""
