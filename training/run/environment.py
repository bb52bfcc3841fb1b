"""What a run was made with: machine and packages."""

from __future__ import annotations

import os
import platform
from importlib.metadata import PackageNotFoundError, version

_PACKAGES = (
    "petct-node",
    "torch",
    "monai",
    "numpy",
    "scipy",
    "scikit-learn",
    "SimpleITK",
    "pydicom",
    "onnxruntime",
    "skl2onnx",
    "lifelines",
    "statsmodels",
)


def versions() -> dict[str, str]:
    """Of Python and of the packages that change results; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def machine(device: str) -> str:
    """Processor, cores and, where one is used, the GPU; no name of the computer."""
    text = f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}"
    if device != "cuda":
        return text
    import torch

    return f"{text}, {torch.cuda.get_device_name(0)}"


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:  # noqa: PTH123 - no file of anybody's
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or "unknown processor"
