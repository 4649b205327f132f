"""Measuring: from detections to a plain table with the unit in each column name."""

from layerscope.measure.catalog import MEASUREMENTS
from layerscope.measure.declare import Measurement, measurement
from layerscope.measure.population import size_distribution, summarise_population
from layerscope.measure.table import glossary, measure, measure_columns, table_columns, table_of

__all__ = [
    "MEASUREMENTS",
    "Measurement",
    "glossary",
    "measure",
    "measure_columns",
    "measurement",
    "size_distribution",
    "summarise_population",
    "table_columns",
    "table_of",
]
