"""Faces drawn on images, contact sheets, hidden faces, and the writing of image files."""
