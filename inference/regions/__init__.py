"""Regions that people or segmenters drew, as voxels of a grid."""
