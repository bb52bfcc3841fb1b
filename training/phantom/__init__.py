"""Phantoms with a planted, known signal (methods A0)."""
