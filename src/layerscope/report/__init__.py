"""The report of a run, as HTML, as PDF and in a notebook."""
