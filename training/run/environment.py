"""What a run is made with: machine and packages."""

from __future__ import annotations

import os
import platform
import re
from importlib.metadata import PackageNotFoundError, requires, version

from inference.facts import Refused

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
        if _installed(name):
            found[name] = version(name)
    return found


def refuse_without_packages() -> None:
    """Raises ``Refused`` ``packages-missing`` where the extra ``training`` is not installed: before hours of work."""
    wanted = [line for line in requires("petct-node") or [] if re.search(r"extra == .training", line)]
    missing = [name for name in (re.split(r"[^\w.-]", line)[0] for line in wanted) if not _installed(name)]
    if missing:
        raise Refused(
            "packages-missing",
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: a node that only serves does "
            "without.  Run:  pip install 'petct-node[training]'",
        )


def _installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


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
