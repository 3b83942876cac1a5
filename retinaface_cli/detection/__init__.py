"""Detection: the detector and what it is made of, and its Lightning module."""
