"""The network, its matching, losses, postprocessing and checkpoints."""
