"""A run: a recipe on a cohort, fold by fold, and what it leaves behind."""
