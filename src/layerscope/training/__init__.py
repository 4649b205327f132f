"""Learning from labelled images. Needs ``layerscope[train]``; running a model does not."""
