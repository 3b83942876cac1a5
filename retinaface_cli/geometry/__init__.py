"""Pure tensor maths on boxes and anchors; no state."""
