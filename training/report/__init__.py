"""The report of a run: one HTML file and one JSON file."""
