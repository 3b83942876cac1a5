"""Images and labels on their way to batches."""
