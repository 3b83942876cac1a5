"""The visualize command."""
