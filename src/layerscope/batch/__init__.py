"""Scans of thousands of images: the same pipeline, in chunks that survive anything.

`scan.py` is the page to read first. A run folder holds everything:

    scan.json       what was asked, and of which images (inputs.jsonl); frozen when the scan begins
    survey.json     what a sample of the images says of light and substrate
    parts/          one Parquet file per chunk of images and stage of the work
    ledger.sqlite   which parts are done, and what they were made of
    calibration.toml, images, objects and sites as tables, report.html: made from complete parts
"""
