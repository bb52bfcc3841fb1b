"""Small models on the radiomics features: the baseline, and what PET and CT agree on (our best design) [R].

``logistic`` is penalised logistic regression on the labelled rows.  ``agreement`` uses unlabelled rows as well: it
finds the directions of PET features and of CT features that correlate most (canonical correlation, Hotelling 1936),
once what volume and shape explain is taken out (both modalities see the size, so it looks like agreement), and learns
from the few labels along those directions, each scaled by its correlation.  What drives both modalities at once is
more likely the disease than one modality's noise: the assumption of co-training (Blum & Mitchell 1998) and of
multi-view regression (Kakade & Foster 2007).  Where only one modality carries the label the assumption is false; the
features themselves therefore stay in, at a third of the scale.

Both end as one linear model of the features (``inference.model.radiomics.LinearHead``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from inference.model.radiomics import REVISION, SHAPE, LinearHead
from training.prepared import Rows
from training.release.calibrate import fit_temperature
from training.semi_supervised.graph import in_domain

PENALTY = 0.03  # C of the baseline; chosen on development phantoms among .01 to 1 [M]
AGREEMENT_PENALTY = 0.1
RIDGE = 0.05  # added to the covariances of standardised features
DIRECTIONS = 4
OWN_SCALE = 0.3  # of the features beside the directions
CLIP = 5.0
FEWEST_STACKED = 40
LEAST_WEIGHT = 0.02  # of the gate, below which an unlabelled row is left out
LEAST_SHARE = (
    0.65  # of unlabelled rows with a weight above a half; other organs had .5, the same scanners .75 and more [M]
)
FEWEST_UNLABELLED = 100  # in-domain rows below which agreement is not looked for

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Features:
    """``values`` (n, features) of a cohort, their ``names``, and each row's centre."""

    values: Array
    names: tuple[str, ...]
    centres: Sequence[str]

    def chosen(self, names: Sequence[str]) -> Features:
        """Only these features."""
        return Features(self.values[:, [self.names.index(name) for name in names]], tuple(names), self.centres)


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Mean and standard deviation of rows, and standardised values clipped to ±5."""

    means: Array
    sds: Array

    @classmethod
    def of(cls, values: Array) -> Scale:
        return cls(values.mean(0), np.maximum(values.std(0), 1e-9))

    def __call__(self, values: Array) -> Array:
        return np.asarray(np.clip((values - self.means) / self.sds, -CLIP, CLIP))


def logistic(features: Features, labels: npt.NDArray[np.int8], train: Rows, penalty: float = PENALTY) -> LinearHead:
    """The radiomics baseline: L2-penalised logistic regression on standardised features of the ``train`` rows."""
    train = _known(features, train)
    scale = Scale.of(features.values[train])
    weights, intercept = _regression(scale(features.values[train]), labels[train], penalty)
    return _head(features.names, scale, weights, intercept)


def agreement(
    features: Features, labels: npt.NDArray[np.int8], train: Rows, unlabelled: Rows, *, gate: bool = True
) -> LinearHead:
    """As the module says; the baseline where too few unlabelled rows look like the labelled ones.

    ``gate``: leave out unlabelled rows that lie farther from the labelled than those from each other (B2).
    """
    train, unlabelled = _known(features, train), _known(features, unlabelled)
    kept = similar(features, train, unlabelled) if gate else unlabelled
    if len(kept) < FEWEST_UNLABELLED:
        return logistic(features, labels, train)
    rows = np.concatenate([train, kept])
    scale = Scale.of(features.values[rows])
    directions = _directions(scale(features.values[rows]), [features.centres[i] for i in rows], features.names)
    mixing = np.concatenate([directions, OWN_SCALE * np.eye(len(features.names))], axis=1)
    weights, intercept = _regression(scale(features.values[train]) @ mixing, labels[train], AGREEMENT_PENALTY)
    return _head(features.names, scale, mixing @ weights, intercept)


def similar(features: Features, train: Rows, unlabelled: Rows) -> Rows:
    """The unlabelled rows that lie about as near to the labelled ones as those to each other (gate of B2).

    None where too many do not: then the set is of something else, and those inside are there by chance.
    """
    train, unlabelled = _known(features, train), _known(features, unlabelled)
    if not len(unlabelled):
        return unlabelled
    scale = Scale.of(features.values[train])
    weight = in_domain(scale(features.values[train]), scale(features.values[unlabelled]))
    is_alike = (weight > 0.5).mean() >= LEAST_SHARE
    return unlabelled[weight > LEAST_WEIGHT] if is_alike else unlabelled[:0]


def scores(head: LinearHead, features: Features, rows: Rows) -> Array:
    """The logit of the label (len(rows),), the network's part left out; an unknown feature counts as the mean."""
    values = features.chosen(head.names).values[rows]
    values = np.where(np.isnan(values), np.array(head.means), values)
    standard = np.clip((values - np.array(head.means)) / np.array(head.sds), -head.clip, head.clip)
    return np.asarray(standard @ np.array(head.weights) + head.intercept)


def probability(head: LinearHead, features: Features, rows: Rows) -> Array:
    """Of the label, (len(rows),); NaN where a feature is unknown."""
    unknown = np.isnan(features.chosen(head.names).values[rows]).any(1)
    found = 1.0 / (1.0 + np.exp(-scores(head, features, rows)))
    return np.where(unknown, np.nan, found)


def joined(
    head: LinearHead, network: Array, hand_made: Array, labels: npt.NDArray[np.int8], *, stacked: bool
) -> LinearHead:
    """The features' model and the network as one score, from both logits (n,) of the validation rows.

    Each logit is divided by its own temperature and the two are averaged; ``stacked``: a logistic regression on them
    weighs them instead (never below 0, and only with 40 rows or more).
    """
    positive = labels == 1
    scales = [1.0 / fit_temperature(logits, positive) for logits in (network, hand_made)]
    shares, intercept = np.array([0.5, 0.5]), 0.0
    if stacked and len(labels) >= FEWEST_STACKED:
        both = np.stack([network * scales[0], hand_made * scales[1]], axis=1)
        weights, intercept = _regression(both, labels, 1.0)
        shares = np.maximum(weights, 0.0)
    a, b = (float(share * scale) for share, scale in zip(shares, scales, strict=True))
    return head.model_copy(
        update={
            "network_weight": a,
            "weights": tuple(b * weight for weight in head.weights),
            "intercept": b * head.intercept + intercept,
        }
    )


def _directions(values: Array, centres: Sequence[str], names: Sequence[str]) -> Array:
    """(features, k): what PET and CT agree on, unit variance times the canonical correlation.

    Correlations are within centres: scanners differ in PET and in CT at once, which is no agreement about the patient.
    """
    pet = [i for i, name in enumerate(names) if "pet_" in name]
    ct = [i for i, name in enumerate(names) if "ct_" in name and i not in pet]
    shape = [i for i, name in enumerate(names) if name in SHAPE]
    within = values.copy()
    for centre in set(centres):
        these = np.array([name == centre for name in centres])
        within[these] -= within[these].mean(0)
    with threadpool_limits(1):
        taken_out = np.linalg.lstsq(within[:, shape], within, rcond=None)[0]  # (shape, features)
        rest = within - within[:, shape] @ taken_out
        a, b = (_whitening(rest[:, part]) for part in (pet, ct))
        left, correlations, right = np.linalg.svd(a.T @ (rest[:, pet].T @ rest[:, ct] / len(rest)) @ b)
    k = min(DIRECTIONS, len(pet), len(ct))
    mixing = np.zeros((len(names), k))
    mixing[pet] = a @ left[:, :k]
    mixing[ct] += b @ right.T[:, :k]
    mixing[shape] -= taken_out @ mixing
    return np.asarray(mixing * np.minimum(correlations[:k], 1.0))


def _whitening(values: Array) -> Array:
    covariance = values.T @ values / len(values) + RIDGE * np.eye(values.shape[1])
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance)).T)


def _known(features: Features, rows: Rows) -> Rows:
    """Rows whose region was large enough for its features."""
    return rows[np.isfinite(features.values[rows]).all(1)]


def _regression(values: Array, labels: npt.NDArray[np.int8], penalty: float) -> tuple[Array, float]:
    from sklearn.linear_model import LogisticRegression

    with threadpool_limits(1):
        model = LogisticRegression(C=penalty, max_iter=1000).fit(values, labels == 1)
    return np.asarray(model.coef_[0], float), float(model.intercept_[0])


def _head(names: tuple[str, ...], scale: Scale, weights: Array, intercept: float) -> LinearHead:
    return LinearHead(
        revision=REVISION, names=names, means=tuple(scale.means.tolist()), sds=tuple(scale.sds.tolist()),
        weights=tuple(weights.tolist()), intercept=intercept, network_weight=0.0, clip=CLIP,
    )  # fmt: skip
