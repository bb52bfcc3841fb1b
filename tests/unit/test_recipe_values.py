"""No recipe can be told to learn from what is known only later, or from what the label is made of."""

from __future__ import annotations

import pytest

from inference.facts import Refused
from training.recipes import recipe
from training.run.start import read_settings


@pytest.mark.parametrize(
    ("name", "column"), [("dlr", "tps"), ("dfsigm", "cps"), ("cpc", "cps"), ("prrt_pfs", "cycles")]
)
def test_a_column_that_must_not_be_used_is_refused_by_name(name: str, column: str) -> None:
    wanted = recipe(name)
    assert column in wanted.never
    with pytest.raises(Refused, match=f"'{column}' must not be used: {wanted.never[column]}"):
        read_settings(wanted.settings, None, [f'values=["age", "{column}"]'])
    assert read_settings(wanted.settings, None, ['values=["age"]'])
