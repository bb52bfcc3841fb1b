"""The methods by name."""

from __future__ import annotations

from training.semi_supervised.method import Method

NAMES = (
    "supervised", "supervised-gce", "pseudo-label", "mean-teacher", "fixmatch", "mixmatch", "alternation",
    "alternation-over-cluster", "alternation-graph", "alternation-gce", "radiomics-teacher",
)  # fmt: skip


def method(name: str) -> Method:
    """A fresh method.  Raises ``ValueError`` for a name that is none of ``NAMES``."""
    from training.semi_supervised.methods.alternation import Alternation
    from training.semi_supervised.methods.fixmatch import FixMatch
    from training.semi_supervised.methods.mean_teacher import MeanTeacher
    from training.semi_supervised.methods.mixmatch import MixMatch
    from training.semi_supervised.methods.pseudo_label import PseudoLabel
    from training.semi_supervised.methods.supervised import Supervised
    from training.semi_supervised.methods.teacher import RadiomicsTeacher

    match name:
        case "supervised":
            return Supervised()
        case "supervised-gce":
            return Supervised(robust=0.5)
        case "pseudo-label":
            return PseudoLabel()
        case "mean-teacher":
            return MeanTeacher()
        case "fixmatch":
            return FixMatch()
        case "mixmatch":
            return MixMatch()
        case "alternation":
            return Alternation()
        case "alternation-over-cluster":
            return Alternation(free_task="over-cluster")
        case "alternation-graph":
            return Alternation(propagation="graph")
        case "alternation-gce":
            return Alternation(robust=0.5, outlier_rule=True)
        case "radiomics-teacher":
            return RadiomicsTeacher()
        case _:
            raise ValueError(f"there is no method '{name}'; there are {', '.join(NAMES)}")
