"""Label and prediction files <-> the types of faces.py, one file a family."""
