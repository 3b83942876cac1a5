"""Pictures and labels on their way to batches."""
