"""What runs a model: detector, training, prediction over several devices."""
