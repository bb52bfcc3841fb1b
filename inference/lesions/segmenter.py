"""Lesions from a program of the user's (nnU-Net, TotalSegmentator, a MONAI bundle) in place of our own proposal.

A package of the user's names a factory under the entry point group ``petct_node.segmenters``; ``SEGMENTERS.md`` beside
this file shows how.
"""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import EntryPoint, entry_points
from itertools import islice
from typing import Protocol, runtime_checkable

import numpy as np

from inference.facts import Caution, Refused, Region, Tracer, Volume
from inference.lesions.lesion import MOST_LESIONS, Proposal
from inference.regions.region import overlapping

log = logging.getLogger(__name__)

GROUP = "petct_node.segmenters"
# More than this from one study is not lesions but noise, or a generator without end.
MOST_REGIONS = 1000
LONGEST_NAME = 64


@runtime_checkable
class Segmenter(Protocol):
    """Finds lesions.  ``name`` and ``version`` (of the weights too) stand in every result: 1 to 64 characters each."""

    name: str
    version: str

    def lesions(self, suv: Volume, ct: Volume, tracer: Tracer) -> Sequence[Region]:
        """The lesions on the grid of ``suv``, the one for the model first; none is an answer.

        ``suv``: float32 SUVbw (g/ml) on the PET's grid; ``ct``: HU on its own grid, same Frame of Reference; both
        (slice, row, column) and read-only.  A ``Region`` is made of a full-size Boolean mask by ``Region.of``.
        Whatever it raises, the study is refused with the reason "segmenter-failed".
        """
        ...


def installed_segmenters() -> dict[str, EntryPoint]:
    """The segmenters of this environment by the name that infer.segmenter takes; the first of two of one name."""
    return {point.name: point for point in reversed(tuple(entry_points(group=GROUP)))}


def installed_release(name: str) -> str:
    """The segmenter's name with the version of the package that brings it, without loading it."""
    point = installed_segmenters().get(name)
    package = point.dist if point else None
    return f"{name} ({package.name} {package.version})" if package else name


def load_segmenter(name: str) -> Segmenter:
    """Call the factory of that name; weights are loaded now.

    Raises ``Refused`` where there is none of that name ("segmenter-not-found"), or it is not what ``Segmenter`` asks
    for ("segmenter-unusable").
    """
    found = installed_segmenters()
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise Refused(
            "segmenter-not-found",
            f'No segmenter is installed under the name "{name}" (installed: {known}). Install its package into the '
            "environment of the node, or correct infer.segmenter; empty is the built-in proposal.",
        )
    with _guarded(f'The segmenter "{name}" cannot be loaded', "segmenter-unusable"), _no_output():
        made = found[name].load()()
    if not isinstance(made, Segmenter) or not all(map(_is_short_text, (made.name, made.version))):
        raise Refused(
            "segmenter-unusable",
            f'The factory of the segmenter "{name}" gives no object with name, version (texts of 1 to '
            f"{LONGEST_NAME} printable characters) and lesions(suv, ct, tracer). Mend its package.",
        )
    return made


def segmented(segmenter: Segmenter, suv: Volume, ct: Volume, tracer: Tracer) -> Proposal:
    """What the segmenter finds, checked; its order is kept, and more than ``MOST_LESIONS`` are cut with a caution.

    Raises ``Refused`` ("segmenter-failed") where it raises, or returns anything but regions of the PET's grid.
    """
    who = f"{segmenter.name} {segmenter.version}"
    with _guarded(f"The segmenter {who} failed", "segmenter-failed"), _no_output():
        found = list(islice(segmenter.lesions(_read_only(suv), _read_only(ct), tracer), MOST_REGIONS + 1))
    if len(found) > MOST_REGIONS:
        raise _nonsense(who, f"more than {MOST_REGIONS} regions")
    regions = tuple(_checked(region, suv, who) for region in found)
    text = f"The regions were found by the segmenter {who}: a proposal that needs confirmation."
    cautions = [Caution("region-automatic", text)]
    if not regions:
        cautions = [Caution("no-lesion-found", f"The segmenter {who} found no lesion.")]
    if len(regions) > MOST_LESIONS:
        text = f"{len(regions)} lesions were found; the first {MOST_LESIONS} are reported."
        cautions.append(Caution("lesions-left-out", text))
    kept = regions[:MOST_LESIONS]
    return Proposal(kept, (*cautions, *overlapping(kept)))


def _checked(region: object, suv: Volume, who: str) -> Region:
    if not isinstance(region, Region):
        raise _nonsense(who, f"a {type(region).__name__} in place of a Region")
    mask = region.mask
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 3:
        raise _nonsense(who, "a mask that is no Boolean array (slice, row, column)")
    try:
        start = np.array([int(s) for s in region.start])
    except (TypeError, ValueError, OverflowError):
        raise _nonsense(who, "a region whose start is not three whole numbers") from None
    if start.shape != (3,) or (start < 0).any() or (start + mask.shape > suv.array.shape).any():
        raise _nonsense(who, f"a region that does not lie in the PET's grid {suv.array.shape}")
    tight = Region.of(mask)
    if not tight.mask.size:
        raise _nonsense(who, "a region without a voxel")
    k, r, c = start.tolist()
    return tight.moved((k, r, c))


def _nonsense(who: str, what: str) -> Refused:
    return Refused(
        "segmenter-failed",
        f"The segmenter {who} returned {what}. Mend or update it, or empty infer.segmenter for the built-in proposal.",
    )


def _read_only(volume: Volume) -> Volume:
    """The same values, which a plug-in cannot change: SUV are measured in them afterwards."""
    view = volume.array.view()
    view.flags.writeable = False
    return Volume(view, volume.affine.copy(), volume.frame_of_reference_uid)


def _is_short_text(value: object) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= LONGEST_NAME and value.isprintable()


@contextlib.contextmanager
def _guarded(what: str, code: str) -> Iterator[None]:
    """Whatever a plug-in raises is a refusal; only memory that ran out is left to the node, which tries again."""
    try:
        yield
    except MemoryError:
        raise
    except (Exception, SystemExit) as fault:
        log.exception(what)
        raise Refused(
            code,
            f"{what} ({type(fault).__name__}; more is in the log). Mend or update it, or empty infer.segmenter for the "
            "built-in proposal.",
        ) from fault


@contextlib.contextmanager
def _no_output() -> Iterator[None]:
    """What a plug-in prints goes to standard error: standard output is the command's JSON."""
    with contextlib.redirect_stdout(sys.stderr):
        yield
