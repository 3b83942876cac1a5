"""The convert-labels command."""
