"""Faces drawn on pictures, contact sheets, hidden faces, and the writing of picture files."""
