"""Which cells Show 2 asks for, the most important first (``training.experiments.labels``)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

REVISION = 2  # of this experiment: raise it when cells measured before can no longer be compared
DRAWS = 10
FEATURE_METHODS = ("radiomics", "agreement")  # no network: seconds for all draws
PRIMARY = ("supervised", "agreement-teacher", "alternation", "radiomics-teacher")
OTHERS = (
    "fixmatch", "mean-teacher", "mixmatch", "pseudo-label", "alternation-over-cluster", "alternation-graph",
    "alternation-assignment", "alternation-threshold", "rotation-pretraining", "feature-pretraining",
)  # fmt: skip
KINDS = ("in-domain", "other-scanner", "other-tracer", "wrong-organ", "noise", "none")
MODELS = ("clustered", "continuous")
STRESS = ("separate", "ct-only")  # where the assumption of agreement is weak, and where it is false


@dataclass(frozen=True, slots=True)
class Block:
    """All combinations of these."""

    models: Sequence[str]
    labels: Sequence[int]
    methods: Sequence[str]
    draws: Sequence[int]
    unlabelled: Sequence[str] = ("in-domain",)
    flips: Sequence[float] = (0.0,)

    def cells(self) -> Iterator[tuple[str, str, int, int, float, str]]:
        """(model, unlabelled, draw, labels, flips, method): those on the same phantoms follow each other."""
        yield from itertools.product(self.models, self.unlabelled, self.draws, self.labels, self.flips, self.methods)


def _draws(count: int) -> range:
    return range(count)


PLAN = (
    Block((*MODELS, *STRESS), (20, 40, 80, 160), FEATURE_METHODS, _draws(30)),
    Block(("clustered",), (40,), FEATURE_METHODS, _draws(30), KINDS, (0.0, 0.1, 0.2, 0.3)),
    Block(("clustered",), (20, 40), PRIMARY, _draws(10)),
    Block(("continuous",), (20, 40), PRIMARY[:2], _draws(10)),
    Block(("clustered",), (40,), PRIMARY, range(10, 30)),
    Block(("clustered",), (40,), PRIMARY[:3], _draws(10), ("wrong-organ",)),
    Block(("clustered",), (40,), (*PRIMARY[:3], "supervised-gce", "alternation-gce"), _draws(10), flips=(0.2,)),
    Block(("clustered",), (40,), OTHERS, _draws(10)),
    Block(("clustered",), (80, 160), PRIMARY, _draws(10)),
    Block(("continuous",), (20, 40, 80, 160), PRIMARY, _draws(10)),
    Block(STRESS, (20, 40), PRIMARY[:2], _draws(10)),
    Block(("clustered",), (40,), PRIMARY[:3], _draws(10), ("other-scanner", "other-tracer", "noise")),
    Block(("clustered",), (40,), (*PRIMARY[:3], "supervised-gce", "alternation-gce"), _draws(10), flips=(0.1, 0.3)),
    Block(MODELS, (20, 80, 160), OTHERS, _draws(10)),
    Block(("continuous",), (40,), OTHERS, _draws(10)),
)
