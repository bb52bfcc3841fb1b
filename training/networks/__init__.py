"""Image networks: fitted to prepared rows, alone or as an ensemble, from random or given weights."""
