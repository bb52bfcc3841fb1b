"""A start for 3D ResNet-10 trunks: weights that a person brings, named as MedicalNet names them (methods A3, A5).

MedicalNet (Chen et al. 2019, arXiv 1904.00625, MIT licence) ships pickles, which are never read here: convert its
``resnet_10`` to safetensors first.  None is in this repository.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference.facts import Refused
from inference.model.network import NetworkSettings, ResNet10, TwoBranch, build

LARGEST_BYTES = 1024**3

Array = npt.NDArray[Any]


def trunk_weights(file: Path) -> dict[str, Array]:
    """The tensors of a safetensors file without "module." before their names.

    Raises ``Refused`` ``backbone-file``.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise Refused("backbone-file", f"{file.name} is larger than 1 GiB; give the weights of a ResNet-10.")
        tensors = load_file(file)
    except (OSError, SafetensorError) as fault:
        reason = f"{file.name} is missing or no safetensors file; convert the weights (pickles are never read)."
        raise Refused("backbone-file", reason) from fault
    return {name.removeprefix("module."): array for name, array in tensors.items()}


def begun_with(network: NetworkSettings, trunk: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Weights of ``network`` drawn from ``seed``, all convolutions and norms of its trunks replaced by ``trunk``.

    The first kernel sees one channel there; here it is shared evenly among the channels, so that an image that is the
    same in all gives the same answer.  Raises ``Refused`` ``backbone-weights`` unless every tensor fits.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = {name: tensor.numpy().copy() for name, tensor in build(network).state_dict().items()}
    for prefix in _prefixes(network):
        for name in [one for one in weights if one.startswith(prefix)]:
            weights[name] = _fitting(name.removeprefix(prefix), weights[name], trunk)
    return weights


def _prefixes(network: NetworkSettings) -> tuple[str, ...]:
    match network:
        case ResNet10():
            return ("resnet.",)
        case TwoBranch():
            return tuple(f"trunks.{i}." for i in range(len(network.branches)))
        case _:
            raise ValueError("only 3D ResNet-10 trunks begin with such weights")


def _fitting(name: str, own: Array, trunk: Mapping[str, Array]) -> Array:
    if name.endswith("num_batches_tracked"):
        return own
    given = trunk.get(name)
    if given is not None and name == "conv1.weight" and given.shape[1] == 1:
        given = np.repeat(given, own.shape[1], axis=1) / own.shape[1]
    if given is None or given.shape != own.shape or not np.isfinite(given).all():
        raise Refused(
            "backbone-weights",
            f"The weights have no finite '{name}' of shape {own.shape}; they must be of ResNet-10 with these widths "
            "and this stem (64, 128, 256, 512 and 'medicalnet' for MedicalNet's).",
        )
    return np.asarray(given, own.dtype)
