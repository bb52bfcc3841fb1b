"""The methods by name."""

from __future__ import annotations

from collections.abc import Callable

from training.semi_supervised.method import Method
from training.semi_supervised.methods.alternation import Alternation
from training.semi_supervised.methods.fixmatch import FixMatch
from training.semi_supervised.methods.mean_teacher import MeanTeacher
from training.semi_supervised.methods.mixmatch import MixMatch
from training.semi_supervised.methods.pseudo_label import PseudoLabel
from training.semi_supervised.methods.supervised import Supervised
from training.semi_supervised.methods.teacher import RadiomicsTeacher

_METHODS: dict[str, Callable[[], Method]] = {
    "supervised": Supervised,
    "supervised-gce": lambda: Supervised(robust=0.5),
    "pseudo-label": PseudoLabel,
    "mean-teacher": MeanTeacher,
    "fixmatch": FixMatch,
    "mixmatch": MixMatch,
    "alternation": Alternation,
    "alternation-rotation": lambda: Alternation(with_rotation=True),
    "alternation-assignment": lambda: Alternation(free_task="assignment"),
    "alternation-over-cluster": lambda: Alternation(free_task="over-cluster"),
    "alternation-threshold": lambda: Alternation(propagation="threshold"),
    "alternation-graph": lambda: Alternation(propagation="graph"),
    "alternation-gce": lambda: Alternation(robust=0.5, outlier_rule=True),
    "radiomics-teacher": RadiomicsTeacher,
}
NAMES = tuple(_METHODS)


def method(name: str) -> Method:
    """A fresh method.  Raises ``ValueError`` for a name that is none of ``NAMES``."""
    if name not in _METHODS:
        raise ValueError(f"there is no method '{name}'; there are {', '.join(NAMES)}")
    return _METHODS[name]()
