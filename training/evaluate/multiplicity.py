"""Many tests at once: Holm for the family declared before, Benjamini and Hochberg for exploration."""

from __future__ import annotations

from collections.abc import Sequence


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p (Holm, Scand J Stat 1979;6:65): the chance of any false positive in the family stays below it."""
    return _adjusted(p_values, "holm")


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p (J R Stat Soc B 1995;57:289): the expected share of false ones among those called stays below it."""
    return _adjusted(p_values, "fdr_bh")


def _adjusted(p_values: Sequence[float], method: str) -> list[float]:
    from statsmodels.stats.multitest import multipletests

    return [float(p) for p in multipletests(p_values, method=method)[1]] if len(p_values) else []
