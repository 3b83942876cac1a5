"""The networks: images in, HeadOutputs out; one file a network."""
