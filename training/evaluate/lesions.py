"""How often the automatic lesion is right on whole-body phantoms: ``python -m training.evaluate.lesions --count 100``.

Found: the primary lesion overlaps a planted one and its hottest voxel lies in it or within 5 mm of it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np

from inference.facts import FloatArray, ReferenceUptake, Region, Tracer, Volume
from inference.lesions.body import body_of
from inference.lesions.lesion import find_lesions
from inference.lesions.organs import organs_of
from inference.lesions.reference import reference_uptake
from training.phantom.lesion import PlantedLesion
from training.phantom.whole_body import whole_body

NEAR_MM = 5.0
FDG = Tracer("fdg", "F-18")


@dataclass(frozen=True, slots=True)
class Finding:
    """One patient.  ``right``: of each proposed lesion, in order, whether it is a planted one.

    ``seen``: for each planted lesion its site, the organ it touches, and whether a proposal is it.
    """

    seed: int
    right: tuple[bool, ...]
    seen: tuple[tuple[str, str, bool], ...]
    cautions: tuple[str, ...]
    references: tuple[ReferenceUptake, ...]
    liver: float
    blood: float

    @property
    def found(self) -> bool:
        """Whether the primary lesion is right."""
        return self.right[:1] == (True,)


def evaluate(seed: int, *, healthy: bool = False) -> Finding:
    """Look for the lesions of one phantom."""
    patient = whole_body(seed, healthy=healthy)
    body = body_of(patient.ct)
    organs = None if body is None else organs_of(body)
    references = reference_uptake(patient.suv, body, organs)
    proposal = find_lesions(patient.suv, body, organs, FDG, references)
    hits = [[is_lesion(region, patient.suv, p.lesion) for p in patient.lesions] for region in proposal.regions]
    return Finding(
        seed,
        tuple(any(row) for row in hits),
        tuple((p.site.name, p.site.neighbour, any(row[n] for row in hits)) for n, p in enumerate(patient.lesions)),
        tuple(c.text for c in proposal.cautions),
        references,
        patient.uptake.liver,
        patient.uptake.blood,
    )


def is_lesion(region: Region, suv: Volume, lesion: PlantedLesion) -> bool:
    """Whether the region overlaps the ellipsoid, and its hottest voxel lies in it or within 5 mm of it."""
    points = suv.to_lps(np.argwhere(region.mask) + region.start)
    hottest = points[int(np.argmax(suv.array[region.slices][region.mask]))]
    return bool((_outside_mm(points, lesion) <= 0.0).any()) and float(_outside_mm(hottest, lesion)) <= NEAR_MM


def _outside_mm(points: FloatArray, lesion: PlantedLesion) -> FloatArray:
    """How far points (…, 3) lie outside the ellipsoid, mm along the ray from its centre; negative inside."""
    off = points - np.asarray(lesion.centre_lps_mm)
    rho = np.linalg.norm(off @ np.asarray(lesion.directions).T / np.asarray(lesion.semi_axes_mm), axis=-1)
    return np.asarray(np.linalg.norm(off, axis=-1) * (1.0 - 1.0 / np.maximum(rho, 1e-6)))


def evaluate_all(seeds: Sequence[int], *, processes: int = 1, healthy: bool = False) -> Iterable[Finding]:
    """One finding a seed, in order."""
    look = partial(evaluate, healthy=healthy)
    if processes == 1:
        yield from map(look, seeds)
        return
    with ProcessPoolExecutor(processes) as pool:
        yield from pool.map(look, seeds)


def table(findings: Sequence[Finding]) -> str:
    """What was found and what was missed, as lines of text."""
    found = sum(f.found for f in findings)
    planted = [s for f in findings for s in f.seen]
    wrong = sum(not r for f in findings for r in f.right)
    lines = [
        f"primary lesion right: {found} of {len(findings)}",
        f"planted lesions among the proposed: {sum(s[2] for s in planted)} of {len(planted)}",
        f"proposed regions that are no lesion: {wrong} ({wrong / max(1, len(findings)):.1f} a patient)",
    ]
    for neighbour in sorted({s[1] for s in planted}):
        some = [s[2] for s in planted if s[1] == neighbour]
        lines.append(f"  touching {neighbour or 'no organ with uptake'}: {sum(some)} of {len(some)}")
    for f in findings:
        if not f.found:
            missed = ", ".join(name for name, _, seen in f.seen if not seen) or "none"
            lines.append(f"seed {f.seed}: primary wrong; proposals right: {list(f.right)}; missed: {missed}")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1)
    arguments = parser.parse_args()
    seeds = range(arguments.first_seed, arguments.first_seed + arguments.count)
    sys.stdout.write(table(list(evaluate_all(seeds, processes=arguments.processes))) + "\n")


if __name__ == "__main__":
    main()
