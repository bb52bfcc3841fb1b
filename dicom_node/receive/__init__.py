"""Instances arrive: by C-STORE (``scp``), into the spool, and from there into the index."""
