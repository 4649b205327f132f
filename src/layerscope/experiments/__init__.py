"""Studies of the published questions, one command each: ``layerscope experiment NAME``."""
