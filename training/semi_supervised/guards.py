"""Signs that a network has collapsed while it learnt without labels (methods B2)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def collapsed(positive: Tensor, features: Tensor, prior: float) -> str:
    """Why the answers (n,) and features (n, d) of the teacher look collapsed; "" if they do not.

    Entropy of the mean prediction below .3 ln 2, more than .3 away from the prior in the share called positive, or
    fewer than 4 effective dimensions (exp entropy of the singular values).
    """
    mean = float(positive.mean().clamp(1e-6, 1.0 - 1e-6))
    entropy = -(mean * math.log(mean) + (1.0 - mean) * math.log(1.0 - mean))
    if entropy < 0.3 * math.log(2.0):
        return "mean prediction"
    if abs(float((positive > 0.5).float().mean()) - prior) > 0.3:
        return "share called positive"
    values = torch.linalg.svdvals((features - features.mean(0)).float())
    share = values / values.sum().clamp_min(1e-12)
    if float(torch.exp(-(share * torch.log(share.clamp_min(1e-12))).sum())) < 4.0:
        return "rank of the features"
    return ""
