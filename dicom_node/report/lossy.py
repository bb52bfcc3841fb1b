"""Whether what a result was made of had been lossily compressed: lossy once is lossy for ever (PS3.3 C.7.6.1.1.5).

An image derived from such images says so itself (0028,2110), since a reader of it cannot ask its sources.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from inference.facts import Instance
from inference.geometry.volume import may_be_lossy

# Lossy Image Compression Method (0028,2114) by transfer syntax (PS3.3 C.7.6.1.1.5.1)
METHODS = {
    "1.2.840.10008.1.2.4.50": "ISO_10918_1",
    "1.2.840.10008.1.2.4.51": "ISO_10918_1",
    "1.2.840.10008.1.2.4.81": "ISO_14495_1",
    "1.2.840.10008.1.2.4.91": "ISO_15444_1",
    "1.2.840.10008.1.2.4.203": "ISO_15444_15",
}


@dataclass(frozen=True, slots=True)
class Lossy:
    """What the sources went through: their compressions' methods and, one each, ratios; both () where not known."""

    methods: tuple[str, ...] = ()
    ratios: tuple[str, ...] = ()

    @classmethod
    def of(cls, sources: Iterable[Instance]) -> Lossy | None:
        """Of the lossy images among ``sources`` the one compressed most, of those that say how; None without any."""
        found = [_steps(instance) for instance in sources if may_be_lossy(instance)]
        return max(found, key=lambda lossy: (len(lossy.ratios), _product(lossy.ratios)), default=None)

    def write_into(self, ds: Dataset) -> None:
        """Say it in an image; another object has no such attribute."""
        if "LossyImageCompression" not in ds:
            return
        ds.LossyImageCompression = "01"
        if self.methods:
            ds.LossyImageCompressionMethod, ds.LossyImageCompressionRatio = list(self.methods), list(self.ratios)


def _steps(instance: Instance) -> Lossy:
    methods, ratios = (_values(instance, f"LossyImageCompression{what}") for what in ("Method", "Ratio"))
    if methods and len(methods) == len(ratios) and all(_positive(ratio) for ratio in ratios):
        return Lossy(tuple(methods), tuple(ratios))
    method, size = METHODS.get(instance.transfer_syntax_uid), _uncompressed_bytes(instance)
    if method is None or not size:
        return Lossy()
    try:
        stored = Path(instance.path).stat().st_size
    except OSError:
        return Lossy()
    return Lossy((method,), (f"{max(size / stored, 1.0):.2f}",)) if stored else Lossy()


def _values(instance: Instance, keyword: str) -> list[str]:
    value = instance.get(keyword)
    values = value if isinstance(value, list | tuple) else [] if value is None else [value]
    return [str(one).strip()[:16] for one in values if str(one).strip()]


def _positive(ratio: str) -> bool:
    try:
        return 0.0 < float(ratio) < float("inf")
    except ValueError:
        return False


def _product(ratios: tuple[str, ...]) -> float:
    whole = 1.0
    for ratio in ratios:
        whole *= float(ratio)
    return whole


def _uncompressed_bytes(instance: Instance) -> int:
    """Of the whole object; 0 where its header does not say."""
    keywords = ("Rows", "Columns", "BitsAllocated")
    rows, columns, bits = (instance.get(keyword, 0) for keyword in keywords)
    frames = instance.get("NumberOfFrames", 1) if instance.frame >= 0 else 1
    try:
        return int(rows) * int(columns) * int(bits) * int(frames) // 8
    except (TypeError, ValueError):
        return 0
