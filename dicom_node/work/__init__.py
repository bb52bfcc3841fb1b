"""One piece of work: what it is about, the resident process that does it, and the result set that comes of it."""
