"""Phantoms, recipes and evaluation: how the models that the node serves come to be."""
