"""layerscope: from a micrograph of a 2D material to a calibrated table of what is on it."""

__version__ = "0.1.0"
