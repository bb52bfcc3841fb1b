"""The result objects, one a file."""
