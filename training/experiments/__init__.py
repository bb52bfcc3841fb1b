"""Experiments whose tables stand in docs/results.md: each appends lines of JSON, so that it goes on over sittings."""
