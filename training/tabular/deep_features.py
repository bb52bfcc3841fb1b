"""Pooled features of a frozen 2D ResNet, once for each study (methods A2, A4)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ValidationError

from inference.facts import Refused
from inference.model.network import restore
from inference.model.slice_network import SliceNet, SliceResNet, from_torchvision

BATCH = 8  # studies
LARGEST_WEIGHTS_BYTES = 1024**3
ABOUT_KEY = "petct_node"  # of the file's metadata, where our own command wrote it: JSON of network and card


@dataclass(frozen=True, slots=True)
class Backbone:
    """``weights``: by the network's names.  ``card``: where they come from, for the model card."""

    settings: SliceResNet
    weights: Mapping[str, npt.NDArray[Any]]
    card: str

    @property
    def digest(self) -> str:
        """SHA-256 (hex) of network and weights."""
        found = hashlib.sha256(self.settings.model_dump_json().encode())
        for name in sorted(self.weights):
            found.update(name.encode() + np.ascontiguousarray(self.weights[name]).tobytes())
        return found.hexdigest()


def load_backbone(file: Path | None, settings: SliceResNet, *, pixels: int, seed: int) -> Backbone:
    """Weights of a safetensors file named as torchvision's, or, without one, random ones of ``seed``.

    ``pixels``: edge of the slices it will see.  Raises ``Refused``: ``backbone-file`` (no such file, no safetensors),
    ``backbone-weights`` (of another network; of our own command, for slices of another size).
    """
    if file is None:
        return random_backbone(settings, seed=seed)
    tensors, metadata = _read(file)
    if ABOUT_KEY in metadata:
        card = _card_of(settings, pixels, metadata[ABOUT_KEY])
    else:
        card = f"given by the user, file SHA-256 {hashlib.sha256(file.read_bytes()).hexdigest()}"
    return Backbone(settings, from_torchvision(settings, tensors), card)


def random_backbone(settings: SliceResNet, *, seed: int) -> Backbone:
    """Fresh weights: features of an untrained network, which its card says."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        weights = {name: tensor.numpy() for name, tensor in SliceNet(settings).state_dict().items()}
    return Backbone(settings, weights, f"random, seed {seed}: nothing was learnt before; for tests and comparison only")


def deep_features(
    inputs: npt.NDArray[np.float32],
    backbone: Backbone,
    *,
    digest: str,
    cache: Path,
    threads: int = 1,
    device: str = "cpu",
    between: Callable[[int, int], None] = lambda *_: None,
) -> npt.NDArray[np.float32]:
    """Pooled features (n, k) of inputs (n, 3, slices, rows, columns).

    ``digest``: of the inputs ("": it is taken of their bytes); together with the backbone's it names the file in
    ``cache`` where they are kept, so that all folds and variants of a run share them.  ``device``: "cpu" or "cuda".
    ``between`` gets what is done, of how many studies; it may raise.
    """
    digest = digest or hashlib.sha256(np.ascontiguousarray(inputs).data).hexdigest()
    name = hashlib.sha256(f"{digest} {backbone.digest}".encode()).hexdigest()[:32]
    kept = cache / f"deep-features-{name}.npy"
    if kept.is_file():
        found: npt.NDArray[np.float32] = np.load(kept, allow_pickle=False)
        if found.shape == (len(inputs), backbone.settings.features):
            return found
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # in full precision, as it is served
    network = restore(backbone.settings, dict(backbone.weights)).to(device)
    features = np.empty((len(inputs), backbone.settings.features), np.float32)
    with torch.no_grad():
        for start in range(0, len(inputs), BATCH):
            batch = np.array(inputs[start : start + BATCH], np.float32)
            pooled = network.embedding(network.features(torch.from_numpy(batch).to(device)))
            features[start : start + BATCH] = pooled.cpu().numpy()
            between(min(start + BATCH, len(inputs)), len(inputs))
    _keep(kept, features)
    return features


def _keep(file: Path, features: npt.NDArray[np.float32]) -> None:
    """In one step; of several processes that do so at once the last one's stays, and all wrote the same."""
    import os

    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_suffix(f".{os.getpid()}.partial")
    with partial.open("wb") as out:
        np.save(out, features)
    partial.replace(file)


def _read(file: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, str]]:
    from safetensors import SafetensorError, safe_open

    if not file.is_file():
        raise Refused("backbone-file", f"There is no file {file}; give a safetensors file, or none for random weights.")
    if file.stat().st_size > LARGEST_WEIGHTS_BYTES:
        raise Refused("backbone-file", "The file of weights is larger than 1 GiB; give those of a ResNet-18 or -50.")
    try:
        with safe_open(file, framework="numpy") as opened:
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - it is no mapping
            return tensors, dict(opened.metadata() or {})
    except (SafetensorError, ValueError, TypeError) as fault:
        raise Refused("backbone-file", f"{file.name} is no safetensors file; pickles are never read.") from fault


def _card_of(settings: SliceResNet, pixels: int, text: str) -> str:
    """What the file says of its weights, once they are for this network and these slices."""
    try:
        about = json.loads(text)
        theirs, card = SliceResNet.model_validate(about["network"]), str(about["card"])[:1000]
        seen = int(about["pixels"])
    except (ValueError, KeyError, TypeError, ValidationError) as fault:
        raise Refused("backbone-file", "The weights are of a network that this version does not have.") from fault
    if theirs != settings or seen != pixels:
        raise Refused(
            "backbone-weights",
            f"The weights are of a network of depth {theirs.depth}, width {theirs.width} and stem '{theirs.stem}' for "
            f"slices of {seen} pixels; set depth, width, stem and pixels of the recipe to these.",
        )
    return card
