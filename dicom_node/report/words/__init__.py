"""What may be said of an analysis, and in which words."""
