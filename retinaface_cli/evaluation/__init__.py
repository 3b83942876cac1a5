"""Pure protocols: labels and detections in, a frozen report out; no files, no printing."""
