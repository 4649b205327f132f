"""Measuring: from detections to a plain table with the unit in each column name."""

from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement, measurement
from layerscope.measure.table import glossary, measure, table_columns

__all__ = ["MEASUREMENTS", "Measurement", "glossary", "measure", "measurement", "table_columns"]
