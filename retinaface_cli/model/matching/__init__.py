"""Which anchors are positive, and for which face."""
