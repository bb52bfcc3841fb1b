"""Labels that follow from a time: was there progression (or death) within 12 months?  (methods A5)"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from inference.facts import Refused
from training.prepared import UNLABELLED, Prepared, Rows

HORIZON_MONTHS = 12.0
SMALLEST_SHARE = 0.05  # of those still followed; fewer make single subjects too heavy


def pfs_labels(
    months: npt.NDArray[np.float64], events: npt.NDArray[np.int8], horizon: float = HORIZON_MONTHS
) -> npt.NDArray[np.int8]:
    """1: event at ``horizon`` or before; 0: none by then, and seen so long; -1: lost before, or unknown."""
    labels = np.full(len(months), UNLABELLED, np.int8)
    labels[(events == 1) & (months <= horizon)] = 1
    labels[((events == 1) & (months > horizon)) | ((events == 0) & (months >= horizon))] = 0
    return labels


def with_pfs_labels(data: Prepared, horizon: float = HORIZON_MONTHS) -> Prepared:
    """The cohort with labels from months and events; rows that have neither keep the table's.

    Who was lost before ``horizon`` has no label.  Raises ``Refused`` ``label-contradicts-time`` where the table's label
    says the opposite of the time.
    """
    if not len(data.months):
        return data
    labels = pfs_labels(data.months, data.events, horizon)
    timed = np.isfinite(data.months) & (data.events >= 0)
    wrong = np.flatnonzero(timed & (labels >= 0) & (data.labels >= 0) & (labels != data.labels))
    if len(wrong):
        studies = ", ".join(data.studies[row] for row in wrong[:5])
        raise Refused(
            "label-contradicts-time",
            f"In {len(wrong)} rows the label is not what months and event say (1: event within {horizon:g} months): "
            f"study {studies}{' …' if len(wrong) > 5 else ''}. Correct the table, or empty the label column.",
        )
    return replace(data, labels=np.where(timed, labels, data.labels).astype(np.int8))


def censoring_weights(data: Prepared, rows: Rows, horizon: float = HORIZON_MONTHS) -> npt.NDArray[np.float32]:
    """Inverse probability of being followed until the label was known (IPCW), (len(rows),), mean 1.

    Robins & Finkelstein 2000; Graf et al. 1999.  The Kaplan–Meier curve of censoring is of the labelled ``rows`` and of
    those who were lost before ``horizon``; these are in no fold, so each counts as the share of all labelled rows that
    ``rows`` are.  A weight is at most 20 times the smallest.
    """
    from statsmodels.duration.survfunc import SurvfuncRight

    timed = np.isfinite(data.months) & (data.events >= 0) if len(data.months) else np.zeros(len(data), bool)
    lost = np.flatnonzero(timed & (data.labels == UNLABELLED) & _learnable(data))
    known = rows[timed[rows]]
    if not len(known):
        return np.ones(len(rows), np.float32)
    share = len(known) / int((timed & (data.labels != UNLABELLED) & _learnable(data)).sum())
    seen = np.concatenate([known, lost])
    counts = np.concatenate([np.ones(len(known)), np.full(len(lost), share)])
    curve = SurvfuncRight(data.months[seen], (data.events[seen] == 0).astype(float), freq_weights=counts)
    # just before: whoever is lost at the very moment of an event was still there
    before = np.searchsorted(curve.surv_times, np.minimum(data.months[known], horizon), side="left")
    weights = np.ones(len(rows))
    weights[timed[rows]] = 1.0 / np.maximum(np.append(1.0, curve.surv_prob)[before], SMALLEST_SHARE)
    return np.asarray(weights / weights.mean(), np.float32)


def _learnable(data: Prepared) -> npt.NDArray[np.bool_]:
    return np.array([name != "external" for name in data.sets or [""] * len(data)], bool)
