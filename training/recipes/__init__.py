"""Recipes: each trains or builds one bundle.

A recipe's module is imported when it is asked for: they import torch, and the command line starts without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from inference.facts import Refused

if TYPE_CHECKING:
    from training.recipe import Recipe

RECIPES = {
    "ussl": "training.recipes.ussl:RECIPE",
    "dlr": "training.recipes.dlr:RECIPE",
    "cpc": "training.recipes.cpc:RECIPE",
    "dfsigm": "training.recipes.dfsigm:RECIPE",
    "prrt_pfs": "training.recipes.prrt_pfs:RECIPE",
}


def recipe(name: str) -> Recipe:
    """The recipe of that name.  Raises ``Refused`` ``recipe-unknown``."""
    if name not in RECIPES:
        raise Refused("recipe-unknown", f"There is no recipe '{name}'; there are {', '.join(RECIPES)}.")
    module, attribute = RECIPES[name].split(":")
    found: Recipe = getattr(import_module(module), attribute)
    return found
