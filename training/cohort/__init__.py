"""A cohort: its table, its checks, its splits, and its images made ready."""
