"""The network backend on torch, fp32: the only module besides the network that touches torch when serving."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from pydantic import TypeAdapter, ValidationError

from inference.facts import Refused
from inference.model.bundle import Bundle
from inference.model.explain import class_activation
from inference.model.head import Head, HeadForward
from inference.model.network import Network, NetworkSettings, SliceResNet, restore, values_taken
from inference.model.values import width

if TYPE_CHECKING:
    from inference.model.predict import Forward

# oneDNN and cuDNN convolve this layout without copying: ResNet-18 on 96³ takes a quarter less CPU than the default's.
LAYOUT = torch.channels_last_3d


class TorchForward:
    """One member's forward through the network, kept until the map of a class is asked for."""

    def __init__(self, network: Network, x: torch.Tensor, values: torch.Tensor | None) -> None:
        self._network, self._values = network, values
        with torch.no_grad():
            self._features = network.features(x)
            embedding = network.embedding(self._features, values)
            logits = network.head(self._features, values)[0]
        self.score = float(logits[1] - logits[0])
        self.embedding: npt.NDArray[np.float32] = embedding[0].cpu().numpy()

    def activation(self, label: int) -> npt.NDArray[np.float32]:
        """Grad-CAM of the class, (slice, row, column) in cells of the last stage."""
        cells: npt.NDArray[np.float32] = (
            class_activation(self._network, self._features, label, self._values).cpu().numpy()
        )
        return cells


class TorchBackend:
    """All members of a bundle, resident."""

    precision = "fp32"

    def __init__(self, bundle: Bundle, *, device: Literal["auto", "cpu", "cuda"] = "auto", threads: int = 0) -> None:
        self._device = _device(device)
        self.name = f"torch {self._device.type}"
        if threads:
            torch.set_num_threads(threads)
        torch.backends.cudnn.allow_tf32 = False  # the report says fp32
        torch.backends.cudnn.deterministic = True
        try:
            settings = TypeAdapter[NetworkSettings](NetworkSettings).validate_python(bundle.served.network)
        except ValidationError as fault:
            raise Refused("bundle-metadata", "The bundle names a network that this version does not have.") from fault
        channels = len(bundle.served.input.channels)
        if settings.channels != channels:
            raise Refused(
                "bundle-metadata", f"The network takes {settings.channels} channels, the input has {channels}."
            )
        taken, given = values_taken(settings), width(bundle.served.values)
        self._heads = _heads(bundle, settings, given)
        if not self._heads and taken != given:
            raise Refused("bundle-metadata", f"The network takes {taken} numbers of values, the bundle names {given}.")
        self.cell_voxels = settings.cell_voxels
        members = (restore(settings, weights) for weights in bundle.members)
        self._members = [network.to(self._device) for network in members]
        if not isinstance(settings, SliceResNet):  # its kernels are flat
            self._members = [_laid_out(network) for network in self._members]

    def forward(
        self, array: npt.NDArray[np.float32], values: npt.NDArray[np.float32] | None = None
    ) -> Sequence[Forward]:
        """Each member's answer to an input (channel, slice, row, column) and the encoded values (n,)."""
        if self._heads:
            return self._through_heads(array, values)
        x = torch.from_numpy(array)[None].to(self._device, memory_format=LAYOUT)
        beside = None if values is None else torch.from_numpy(values)[None].to(self._device)
        return [TorchForward(network, x, beside) for network in self._members]

    def _through_heads(
        self, array: npt.NDArray[np.float32], values: npt.NDArray[np.float32] | None
    ) -> list[HeadForward]:
        """Every head on every network's features; the features are given once for each network."""
        answers = []
        x = torch.from_numpy(array)[None].to(self._device)
        for network in self._members:
            with torch.no_grad():
                features = network.features(x)
                pooled = network.embedding(features)[0].cpu().numpy()
            own = [HeadForward(head, features[0].cpu().numpy(), pooled, values) for head in self._heads]
            for other in own[1:]:
                other.embedding = pooled[:0]
            answers += own
        return answers


def _heads(bundle: Bundle, settings: NetworkSettings, values: int) -> list[Head]:
    if not bundle.heads:
        if isinstance(settings, SliceResNet):
            raise Refused("bundle-metadata", "The bundle's network needs a head (heads), and there is none.")
        return []
    if not isinstance(settings, SliceResNet):
        raise Refused("bundle-metadata", f"The network '{settings.network}' takes no heads.")
    return [
        Head(content, features=settings.features, values=values, name=f"models/head_{i}.onnx")
        for i, content in enumerate(bundle.heads)
    ]


def _device(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise Refused(
            "device-missing", "infer.device is cuda, and torch sees no GPU; set it to auto, or mend the driver."
        )
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def _laid_out(network: Network) -> Network:
    return network.to(memory_format=LAYOUT)  # type: ignore[call-overload,no-any-return]  # torch's stub lacks it
