"""The one place where files are listed, read within bounds, and written."""
