"""ComBat between centres (Johnson 2007; Fortin 2018), learnt on training rows only, applied unchanged, off by default.

The package's own "from training" fails under NumPy 2.4 (an array where a number is wanted), so the estimates that it
learns are applied here; a test compares with what it gives for the training rows.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.facts import Refused

Features = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class CentreEffects:
    """``centres`` (b,); ``shift``, ``scale``: (b, features) in units of ``sd`` (features,) around ``mean`` (features,).

    Features without spread in training are passed through: their ``sd`` is 0.
    """

    centres: tuple[str, ...]
    mean: npt.NDArray[np.float64]
    sd: npt.NDArray[np.float64]
    shift: npt.NDArray[np.float64]
    scale: npt.NDArray[np.float64]

    def apply(self, features: Features, centres: Sequence[str]) -> Features:
        """Features (subjects, features) of any subjects of these centres.

        Raises ``Refused`` ``harmonise-centre``: a centre that training did not have has no known effect.
        """
        strange = sorted(set(centres) - set(self.centres))
        if strange:
            raise Refused(
                "harmonise-centre",
                f"ComBat knows no centre '{strange[0]}': it was not among the training rows. Leave ComBat off, or keep "
                "that centre out.",
            )
        of = np.array([self.centres.index(centre) for centre in centres], int)
        moving = self.sd > 0.0
        sd = np.where(moving, self.sd, 1.0)
        moved = ((features - self.mean) / sd - self.shift[of]) / np.sqrt(self.scale[of]) * sd + self.mean
        return np.where(moving, moved, features)


def fit_combat(features: Features, centres: Sequence[str]) -> CentreEffects:
    """From training rows, features (subjects, features); the outcome takes no part.

    Raises ``Refused`` ``harmonise-centre``: fewer than two centres, or a centre with fewer than three rows.
    """
    import pandas as pd
    from neuroCombat import neuroCombat

    names = np.asarray(centres, dtype=str)
    known, counts = np.unique(names, return_counts=True)
    if len(known) < 2 or counts.min() < 3:
        raise Refused("harmonise-centre", "ComBat needs two centres with three training rows each. Leave it off.")
    moving = np.ptp(features, axis=0) > 0.0
    with contextlib.redirect_stdout(io.StringIO()):  # the package prints its progress
        found = neuroCombat(features[:, moving].T, pd.DataFrame({"centre": names}), "centre")["estimates"]
    count = features.shape[1]
    mean, sd = features.mean(axis=0), np.zeros(count)
    shift, scale = np.zeros((len(known), count)), np.ones((len(known), count))
    mean[moving], sd[moving] = found["stand.mean"][:, 0], np.sqrt(np.ravel(found["var.pooled"]))
    shift[:, moving], scale[:, moving] = found["gamma.star"], found["delta.star"]
    return CentreEffects(tuple(str(name) for name in known), mean, sd, shift, scale)
