"""The loss and its parts."""
