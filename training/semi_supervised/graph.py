"""What neighbours say: label propagation on teacher features, the out-of-domain gate, and the outlier rule (B2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

NEIGHBOURS = 10
DAMPING = 0.9
DENSE_LIMIT = 5000  # rows; beyond it the system is solved by conjugate gradients


def propagate(features: Array, labels: Array) -> Array:
    """Probability of the label (n,) that spreads from labelled to unlabelled rows; 0.5 where nothing arrives.

    ``features`` (n, d); ``labels`` (n,): 1, 0, -1.  Zhou et al. 2004 on the graph of Iscen et al. 2019 (arXiv
    1904.04717): A = max(0, cosine)³ on the nearest ten, symmetrised, S = D^-½ A D^-½, Z = (I − .9 S)^-1 Y.
    """
    from scipy.sparse import identity
    from scipy.sparse.linalg import cg, spsolve

    start = np.zeros((len(labels), 2))
    for label in (0, 1):
        known = labels == label
        start[known, label] = 1.0 / max(known.sum(), 1)
    system = (identity(len(labels)) - DAMPING * _graph(features)).tocsc()
    if len(labels) <= DENSE_LIMIT:
        spread = np.asarray(spsolve(system, start))
    else:
        spread = np.stack([cg(system, start[:, k], rtol=1e-6)[0] for k in (0, 1)], axis=1)
    total = spread.clip(0.0).sum(1)
    return np.where(total > 1e-12, spread[:, 1].clip(0.0) / np.maximum(total, 1e-12), 0.5)


def _graph(features: Array) -> Any:
    from scipy.sparse import coo_array, diags_array

    unit = features - features.mean(0)
    unit = unit / np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -1.0)
    k = min(NEIGHBOURS, len(unit) - 1)
    near = np.argpartition(-cosine, k - 1, axis=1)[:, :k]
    rows = np.repeat(np.arange(len(unit)), k)
    weight = np.maximum(cosine[rows, near.ravel()], 0.0) ** 3
    graph = coo_array((weight, (rows, near.ravel())), shape=cosine.shape).tocsr()
    graph = 0.5 * (graph + graph.T)
    scale = diags_array(1.0 / np.sqrt(np.maximum(graph.sum(1), 1e-12)))
    return scale @ graph @ scale


def in_domain(labelled: Array, features: Array) -> Array:
    """Weight 0..1 of each row of ``features`` (n, d): how near it lies to the labelled ones (m, d).

    1 ÷ (1 + exp((d − d95) ÷ s)): d is the distance to the tenth nearest, d95 its 95th percentile among the labelled,
    each left out in turn, s their spread.
    """
    from sklearn.neighbors import NearestNeighbors

    k = min(NEIGHBOURS, len(labelled) - 1)
    scale = np.maximum(labelled.std(0), 1e-6)
    nearest = NearestNeighbors(n_neighbors=k + 1).fit(labelled / scale)
    among = nearest.kneighbors(labelled / scale)[0][:, -1]
    away = nearest.kneighbors(features / scale, n_neighbors=k)[0][:, -1]
    edge, spread = np.percentile(among, 95), max(float(among.std()), 1e-6)
    return np.asarray(1.0 / (1.0 + np.exp(np.clip((away - edge) / spread, -50.0, 50.0))))


def outliers(losses: Array, labels: Array, votes: Array, seed: int) -> npt.NDArray[np.bool_]:
    """Which labels (n,) to distrust: of the high part of two Gaussians in log loss (P > .9), and the vote disagrees.

    ``votes`` (n,): probability of the label by the neighbours.  At most a fifth of all, and half of a class; the
    highest losses first (Li et al. 2020, arXiv 2002.07394, for the mixture).
    """
    from sklearn.mixture import GaussianMixture

    found = np.zeros(len(losses), bool)
    if len(losses) < 8 or np.ptp(losses) < 1e-9:
        return found
    log = np.log(np.maximum(losses, 1e-6))[:, None]
    mixture = GaussianMixture(2, random_state=seed, reg_covar=1e-3).fit(log)
    high = mixture.predict_proba(log)[:, int(mixture.means_[:, 0].argmax())] > 0.9
    suspects = np.flatnonzero(high & ((votes > 0.5) != (labels == 1)))
    room = {label: int((labels == label).sum()) // 2 for label in (0, 1)}
    for row in suspects[np.argsort(-losses[suspects])][: len(losses) // 5]:
        if room[int(labels[row])] > 0:
            room[int(labels[row])] -= 1
            found[row] = True
    return found
