"""The web pages in which a person paints and corrects."""
