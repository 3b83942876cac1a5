"""The evaluate command."""
