"""Slices to volumes in the patient's coordinates, and from grid to grid."""
