"""Checkpoints of every family: reading, recognising, converting and downloading them."""
