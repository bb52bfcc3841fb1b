"""How one patient's physiologic FDG uptake and build differ from the next one's.

The ranges are a sketch of what is seen an hour after injection: brain 5 to 12, a fasting heart from blood level to 12,
urine 5 to 40, bowel from quiet to metformin's long hot loops (Boellaard 2015, EANM 2.0, names these as the usual
sources of error).  They are meant to try a finder of lesions, not to stand for a population.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np

from training.phantom.solids import Capsule, Ellipsoid, Organ, Triple

HeartPattern = Literal["quiet", "ring", "wall"]
SIDES = (-1.0, 1.0)
# The colon's way from the caecum to the rectum in the 75 kg figure, LPS mm.
COLON: tuple[Triple, ...] = (
    (-84, 6, 190), (-90, 0, 240), (-88, -4, 290), (-84, -20, 330), (-50, -52, 318), (0, -58, 300), (46, -54, 316),
    (84, -24, 346), (92, 6, 310), (94, 10, 260), (88, 6, 205), (64, -2, 168), (34, -16, 180), (10, 10, 160),
    (2, 34, 132),
)  # fmt: skip
WAVER_MM = 7.0  # how far the colon strays from that way, standard deviation
HAUSTRUM_MM = 24.0  # its wall's uptake changes about so often


@dataclass(frozen=True, slots=True)
class Physiology:
    """What varies: build, organs' size and place, and uptake (SUVbw) beyond ``body.Uptake``.

    ``height``: of the figure, 1 is 1.75 m.  ``bladder``: scale of its radii.  ``kidney_shift_mm``: right and left,
    upwards.  ``calyces``: right and left.  ``gut``: (first point of ``COLON``, number of pieces, SUVbw) of each hot
    stretch.  ``bowel_loops``: SUVbw of each hot loop of small bowel.  ``glands``: salivary glands and tonsils.
    ``ureter``: of spots of urine below each kidney, 0 for none.
    """

    height: float = 1.0
    arms: Literal["raised", "down"] = "raised"
    heart: HeartPattern = "quiet"
    bladder: float = 1.0
    kidney_shift_mm: tuple[float, float] = (-6.0, 6.0)
    calyces: tuple[float, float] | None = None
    gut: tuple[tuple[int, int, float], ...] = ()
    bowel_loops: tuple[float, ...] = ()
    glands: float = 0.0
    ureter: tuple[float, float] = (0.0, 0.0)

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Physiology:
        """One patient's."""
        stretches = int(rng.choice([0, 1, 2, 3], p=[0.3, 0.3, 0.25, 0.15]))
        gut = tuple(
            (int(rng.integers(0, len(COLON) - 3)), int(rng.integers(2, 6)), float(rng.uniform(2.5, 8.0)))
            for _ in range(stretches)
        )
        loops = int(rng.choice([0, 2, 4], p=[0.5, 0.3, 0.2]))
        return cls(
            height=float(rng.uniform(0.88, 1.1)),
            arms="raised" if rng.random() < 0.8 else "down",
            heart=("quiet", "ring", "wall")[int(rng.choice(3, p=[0.4, 0.4, 0.2]))],
            bladder=float(rng.uniform(0.55, 1.35)),
            kidney_shift_mm=(float(rng.normal(-6, 8)), float(rng.normal(6, 8))),
            calyces=(float(np.exp(rng.normal(2.2, 0.5))), float(np.exp(rng.normal(2.2, 0.5)))),
            gut=gut,
            bowel_loops=tuple(float(u) for u in rng.uniform(2.0, 6.0, loops)),
            glands=float(rng.uniform(1.2, 4.5)),
            ureter=(_urine(rng), _urine(rng)),
        )


STANDARD = Physiology()


def _urine(rng: np.random.Generator) -> float:
    return float(rng.uniform(4.0, 15.0)) if rng.random() < 0.3 else 0.0


def bowel(physiology: Physiology, rng: np.random.Generator) -> Iterator[Organ]:
    """Hot stretches of colon, some with gas inside, and loops of small bowel."""
    for first, pieces, suv in physiology.gut:
        points = _way(COLON[first : first + pieces + 1], rng)
        for start, end in pairwise(points):
            radius = float(rng.uniform(9.0, 14.0))
            yield Organ("colon", Capsule(start, end, radius), 35.0, suv * float(rng.uniform(0.7, 1.15)))
            if rng.random() < 0.35:
                yield Organ("colon gas", Capsule(start, end, 0.5 * radius), -800.0, 0.4 * suv)
    for suv in physiology.bowel_loops:
        x, y, z = float(rng.uniform(-45, 45)), float(rng.uniform(-45, -5)), float(rng.uniform(165, 290))
        points = [(x, y, z)]
        for _ in range(5):
            step = rng.normal(0.0, 1.0, 3)
            step *= HAUSTRUM_MM / np.linalg.norm(step)
            px, py, pz = points[-1]
            ends = np.clip([px + step[0], py + step[1], pz + step[2]], (-70, -56, 150), (70, 4, 310))
            points.append((float(ends[0]), float(ends[1]), float(ends[2])))
        radius = float(rng.uniform(7.0, 10.0))
        for start, end in pairwise(points):
            yield Organ("small bowel", Capsule(start, end, radius), 30.0, suv * float(rng.uniform(0.75, 1.1)))


def _way(knots: tuple[Triple, ...], rng: np.random.Generator) -> list[Triple]:
    """The colon's own wavering way through the knots, a point about every haustrum."""
    points: list[Triple] = []
    for start, end in pairwise(knots):
        steps = max(1, round(float(np.linalg.norm(np.subtract(end, start))) / HAUSTRUM_MM))
        for n in range(steps):
            x, y, z = (
                a + (b - a) * n / steps + float(rng.normal(0, WAVER_MM)) for a, b in zip(start, end, strict=True)
            )
            points.append((x, y, z))
    return [*points, knots[-1]]


def urinary_tract(physiology: Physiology, kidney: float, bladder: float) -> Iterator[Organ]:
    """Kidneys with their calyces (SUVbw ``kidney``, thrice that), spots of urine on its way down, and the bladder."""
    calyces = physiology.calyces or (3.0 * kidney, 3.0 * kidney)
    for s, shift, urine, spot in zip(SIDES, physiology.kidney_shift_mm, calyces, physiology.ureter, strict=True):
        yield Organ("kidney", Ellipsoid((s * 62, 42, 350 + shift), (25, 23, 54)), 34.0, kidney)
        yield Organ("renal pelvis", Ellipsoid((s * 52, 39, 350 + shift), (8, 8, 17)), 10.0, urine)
        if spot:
            yield Organ("ureter", Capsule((s * 38, 34, 262), (s * 36, 30, 236), 3.5), 12.0, spot)
    scale = physiology.bladder
    centre = (0.0, -22.0, 88.0)
    yield Organ("rectum", Ellipsoid((0, 44, 95), (17, 16, 34)), 18.0, 0.9)
    yield Organ("bladder wall", Ellipsoid(centre, (38 * scale + 3, 32 * scale + 3, 30 * scale + 3)), 35.0, 1.0)
    yield Organ("bladder", Ellipsoid(centre, (38 * scale, 32 * scale, 30 * scale)), 8.0, bladder)


def myocardium(physiology: Physiology, suv: float, blood: float) -> Iterator[Organ]:
    """The left ventricle: a cup round blood; in the pattern "wall" only its lateral wall is hot."""
    yield Organ("myocardium", Ellipsoid((44, -20, 528), (31, 30, 40)), 52.0, suv)
    if physiology.heart == "wall":
        yield Organ("septum", Ellipsoid((36, -26, 528), (29, 28, 40)), 50.0, 1.2 * blood)
    yield Organ("left ventricle", Ellipsoid((44, -20, 530), (20, 19, 30)), 42.0, blood)


def glands(physiology: Physiology) -> Iterator[Organ]:
    """Parotid and submandibular glands and tonsils, in pairs."""
    if not physiology.glands:
        return
    for s in SIDES:
        yield Organ("parotid", Ellipsoid((s * 50, 4, 792), (9, 14, 18)), 20.0, 0.7 * physiology.glands)
        yield Organ("submandibular gland", Ellipsoid((s * 30, -24, 768), (8, 10, 10)), 35.0, 0.8 * physiology.glands)
        yield Organ("tonsil", Ellipsoid((s * 15, -14, 790), (6, 7, 11)), 45.0, physiology.glands)
