"""Detection: the detector and what it is made of, and its way over all images of a run."""
