"""Recipes: each trains or builds one bundle."""
