"""The network backend on torch, CPU, fp32: the only module besides the network that touches torch when serving."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter, ValidationError

from inference.bundle import Bundle
from inference.explain import class_activation
from inference.facts import Refused
from inference.network import FusionNet, NetworkSettings, restore


class TorchForward:
    """One member's forward through the network, kept until the map of a class is asked for."""

    def __init__(self, network: FusionNet, x: torch.Tensor) -> None:
        self._network = network
        with torch.no_grad():
            self._features = network.features(x)
            embedding = network.embedding(self._features)
            logits = network.head(self._features)[0]
        self.score = float(logits[1] - logits[0])
        self.embedding: npt.NDArray[np.float32] = embedding[0].numpy()

    def activation(self, label: int) -> npt.NDArray[np.float32]:
        """Grad-CAM of the class, (slice, row, column) in cells of the last stage."""
        cells: npt.NDArray[np.float32] = class_activation(self._network, self._features, label).numpy()
        return cells


class TorchBackend:
    """All members of a bundle, resident and warm."""

    name = "torch cpu"
    precision = "fp32"

    def __init__(self, bundle: Bundle) -> None:
        try:
            settings = TypeAdapter[NetworkSettings](NetworkSettings).validate_python(bundle.served.network)
        except ValidationError as fault:
            raise Refused("bundle-metadata", "The bundle names a network that this version does not have.") from fault
        channels = len(bundle.served.input.channels)
        if settings.channels != channels:
            raise Refused(
                "bundle-metadata", f"The network takes {settings.channels} channels, the input has {channels}."
            )
        self.cell_voxels = settings.cell_voxels
        self._members = [restore(settings, weights) for weights in bundle.members]
        size = bundle.served.input.size
        self.forward(np.zeros((channels, size, size, size), np.float32))

    def forward(self, array: npt.NDArray[np.float32]) -> list[TorchForward]:
        """Each member's answer to an input (channel, slice, row, column)."""
        x = torch.from_numpy(array)[None]
        return [TorchForward(network, x) for network in self._members]
