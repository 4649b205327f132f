"""Measuring: from detections to a plain table with the unit in each column name."""

from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement, measurement
from layerscope.measure.population import size_distribution, summarise_population
from layerscope.measure.table import glossary, measure, table_columns

__all__ = [
    "MEASUREMENTS",
    "Measurement",
    "glossary",
    "measure",
    "measurement",
    "size_distribution",
    "summarise_population",
    "table_columns",
]
