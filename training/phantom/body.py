"""The patient of the phantom: which organs there are, where, how dense and how hot.

Origin in the upper thighs; x to the patient's left, y to the back, z to the head (LPS, mm); vertex at z = 975 mm.
Proportions and CT numbers are those of a 1.75 m adult of 75 kg lying with raised arms; uptake is that of FDG an hour
after injection.  The table is a sketch of anatomy, good for testing, not a reference man.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, dataclass

import numpy as np

from training.phantom.physiology import STANDARD, Physiology, bowel, glands, myocardium, urinary_tract
from training.phantom.solids import Bands, Capsule, Ellipsoid, Organ, Solid, Triple, Tube

Knots = tuple[tuple[float, float, float, float, float], ...]
SQUARE = 2.3  # exponent of the trunk's cross-section: between an ellipse (2) and a box
SIDES = (-1.0, 1.0)  # patient's right, left

# z, centre x, centre y, radius x, radius y
TRUNK: Knots = (
    (25, 0, 0, 130, 82), (60, 0, 0, 172, 104), (120, 0, 0, 176, 112), (200, 0, 0, 165, 105), (260, 0, 0, 152, 98),
    (330, 0, 0, 150, 100), (420, 0, 0, 158, 106), (520, 0, 0, 168, 112), (600, 0, 0, 176, 112), (660, 0, 3, 184, 100),
    (690, 0, 6, 165, 84), (712, 0, 6, 105, 66), (728, 0, 5, 60, 55),
)  # fmt: skip
LEG: Knots = ((-40, 82, 0, 78, 82), (20, 88, 0, 84, 90), (70, 88, 0, 86, 98), (110, 80, 0, 60, 70))
ARM: Knots = ((655, 168, 22, 30, 34), (700, 176, 26, 44, 42), (850, 158, 30, 40, 40), (1000, 140, 34, 32, 34))
ARM_DOWN: Knots = (
    (120, 226, 10, 24, 30),
    (260, 226, 14, 32, 36),
    (420, 216, 20, 36, 40),
    (655, 180, 22, 36, 40),
    (690, 160, 20, 30, 34),
)
NECK: Knots = ((700, 0, 6, 64, 58), (740, 0, 4, 58, 60), (800, 0, 0, 58, 66))
HEAD: Knots = (
    (766, 0, -22, 40, 50), (790, 0, -14, 60, 84), (830, 0, -6, 72, 97), (880, 0, 0, 77, 98), (930, 0, 3, 70, 89),
    (958, 0, 5, 47, 60), (975, 0, 5, 8, 10),
)  # fmt: skip
RIGHT_LUNG: Knots = (
    (446, -98, 34, 20, 34), (470, -92, 20, 40, 58), (500, -86, 10, 50, 74), (560, -80, 4, 54, 82),
    (620, -74, 5, 50, 74), (670, -62, 9, 36, 50), (694, -54, 13, 8, 11),
)  # fmt: skip
LEFT_LUNG: Knots = tuple((z, -x, y, rx, ry) for z, x, y, rx, ry in RIGHT_LUNG)
MEDIASTINUM: Knots = ((450, 0, -6, 36, 60), (560, 0, -6, 34, 66), (660, 0, -4, 32, 52), (700, 0, 0, 30, 36))
CHEST_WALL: Knots = tuple(knot for knot in TRUNK if 420 <= knot[0] <= 690)
ABDOMEN: Knots = ((70, 0, -8, 80, 50), (150, 0, -10, 105, 62), (280, 0, -12, 118, 66), (400, 0, -10, 122, 74))
SPINE: Knots = (
    (110, 0, 62, 26, 16), (200, 0, 54, 25, 19), (300, 0, 42, 23, 18), (450, 0, 50, 19, 16), (600, 0, 54, 17, 14),
    (690, 0, 40, 14, 11), (730, 0, 27, 12, 10), (795, 0, 20, 11, 9),
)  # fmt: skip
AORTA: Knots = ((270, 10, 24, 9, 9), (330, 14, 22, 10, 10), (450, 20, 24, 12, 12), (640, 24, 30, 12, 12))


@dataclass(frozen=True, slots=True)
class Uptake:
    """SUVbw of the organs that differ most between patients."""

    liver: float = 2.2
    blood: float = 1.6
    myocardium: float = 2.0
    spleen: float = 1.8
    marrow: float = 1.4
    brain: float = 7.0
    bladder: float = 16.0
    kidney: float = 2.6

    @classmethod
    def draw(cls, rng: np.random.Generator) -> Uptake:
        """One patient's: liver N(2.2, 0.35) (methods A0), the rest a fifth to both sides."""
        liver = float(np.clip(rng.normal(2.2, 0.35), 1.5, 2.9))
        _, *rest = astuple(cls())
        return cls(liver, *(round(usual * float(rng.uniform(0.8, 1.2)), 3) for usual in rest))

    @classmethod
    def draw_widely(cls, physiology: Physiology, rng: np.random.Generator) -> Uptake:
        """One patient's as patients really differ: a hot heart where its pattern says so, urine 5 to 40."""
        liver = float(np.clip(rng.normal(2.2, 0.35), 1.5, 2.9))
        return cls(
            liver,
            blood=liver * float(rng.uniform(0.6, 0.8)),
            myocardium=float(rng.uniform(5.0, 12.0) if physiology.heart != "quiet" else rng.uniform(1.5, 2.5)),
            spleen=liver * float(rng.uniform(0.7, 1.05)),
            marrow=float(rng.uniform(0.9, 2.0)),
            brain=float(rng.uniform(5.0, 12.0)),
            bladder=float(np.clip(np.exp(rng.normal(2.7, 0.5)), 5.0, 40.0)),
            kidney=float(rng.uniform(2.0, 4.0)),
        )


def organs(uptake: Uptake, rng: np.random.Generator, physiology: Physiology = STANDARD) -> list[Organ]:
    """The whole patient and the couch, in the order of painting; ``rng`` places bowel loops and lung vessels."""
    return [
        *_couch(),
        *_outline(physiology),
        *_pelvis(uptake),
        *_abdomen(uptake, rng, physiology),
        *_thorax(uptake, rng, physiology),
        *_spine(uptake),
        *_neck_and_head(uptake),
        *glands(physiology),
    ]


def _couch() -> Iterator[Organ]:
    couch = Tube(((-60, 0, 136, 205, 16), (1000, 0, 136, 205, 16)), power=4.0)
    yield Organ("couch shell", couch, -250.0, 0.0)
    yield Organ("couch foam", Tube(couch.knots, inset=2.0, power=4.0), -930.0, 0.0)


def _outline(physiology: Physiology) -> Iterator[Organ]:
    """Subcutaneous fat, then muscle inside it."""
    arm = ARM if physiology.arms == "raised" else ARM_DOWN
    surfaces = [(TRUNK, 0.0, 15.0, SQUARE)]
    surfaces += [(tuple((z, side * x, y, rx, ry) for z, x, y, rx, ry in knots), 0.0, depth, 2.0)
                 for knots, depth in ((LEG, 12.0), (arm, 6.0)) for side in SIDES]  # fmt: skip
    surfaces += [(NECK, 0.0, 6.0, 2.0), (HEAD, 0.0, 4.0, 2.0)]
    for knots, skin, _, power in surfaces:
        yield Organ("fat", Tube(knots, skin, power), -98.0, 0.25)
    for knots, _, depth, power in surfaces:
        yield Organ("muscle", Tube(knots, depth, power), 52.0, 0.65)


def _bone(
    name: str, solid: Solid, core: Solid, uptake: Uptake, *, hu: float = 220.0, cortex: float = 620.0
) -> Iterator[Organ]:
    yield Organ(f"{name} cortex", solid, cortex, 0.7)
    yield Organ(name, core, hu, uptake.marrow * 0.7)


def _ball_bone(name: str, centre: Triple, radii: Triple, uptake: Uptake) -> Iterator[Organ]:
    inner = (radii[0] - 2.0, radii[1] - 2.0, radii[2] - 2.0)
    yield from _bone(name, Ellipsoid(centre, radii), Ellipsoid(centre, inner), uptake)


def _pelvis(uptake: Uptake) -> Iterator[Organ]:
    for s in SIDES:
        yield from _ball_bone("ilium", (s * 96, 26, 195), (20, 52, 60), uptake)
        yield from _ball_bone("ischium", (s * 56, 42, 62), (18, 22, 38), uptake)
        yield from _ball_bone("femoral head", (s * 92, 4, 98), (23, 23, 23), uptake)
        yield Organ("pubis", Capsule((s * 62, -28, 84), (s * 4, -52, 68), 8.0), 380.0, 0.8)
        shaft = (s * 104.0, 4.0, 70.0), (s * 92.0, 4.0, -60.0)
        yield from _bone("femur", Capsule(*shaft, 14.0), Capsule(*shaft, 7.0), uptake, hu=-20.0, cortex=1100.0)
        yield Organ("psoas", Capsule((s * 38, 44, 330), (s * 66, -10, 140), 17.0), 56.0, 0.7)
    yield from _ball_bone("sacrum", (0, 66, 150), (46, 17, 46), uptake)


def _abdomen(uptake: Uptake, rng: np.random.Generator, physiology: Physiology) -> Iterator[Organ]:
    yield Organ("visceral fat", Tube(ABDOMEN, power=SQUARE), -92.0, 0.35)
    for _ in range(70):
        t = rng.uniform(0.0, 2.0 * np.pi)
        reach = np.sqrt(rng.uniform(0.0, 1.0))
        z = rng.uniform(110, 370)
        centre = (float(88 * reach * np.cos(t)), float(-16 + 42 * reach * np.sin(t)), float(z))
        radii = tuple(float(r) for r in rng.uniform(9, 19, 3))
        yield Organ("bowel", Ellipsoid(centre, (radii[0], radii[1], radii[2])), 34.0, float(rng.uniform(0.8, 1.7)))
    yield from bowel(physiology, rng)
    yield from urinary_tract(physiology, uptake.kidney, uptake.bladder)


def _thorax(uptake: Uptake, rng: np.random.Generator, physiology: Physiology) -> Iterator[Organ]:
    yield Organ("mediastinum", Tube(MEDIASTINUM), -40.0, 0.8)
    outer, inner = Tube(CHEST_WALL, 17.0, SQUARE), Tube(CHEST_WALL, 25.0, SQUARE)
    yield Organ("rib", Bands(outer, 26.0, 9.0, inner, 0.5), 320.0, 0.9)
    yield Organ("sternum", Tube(((515, 0, -90, 17, 6), (600, 0, -92, 18, 6), (668, 0, -78, 24, 7))), 220.0, 1.0)
    for s, knots in zip(SIDES, (RIGHT_LUNG, LEFT_LUNG), strict=True):
        yield Organ("lung", Tube(knots), -840.0, 0.42)
        yield from _lung_vessels(s, uptake, rng)
        yield Organ("scapula", Ellipsoid((s * 112, 82, 635), (34, 5, 50)), 330.0, 0.9)
        yield Organ("clavicle", Capsule((s * 18, -60, 686), (s * 145, -12, 692), 6.0), 480.0, 0.8)
        yield from _ball_bone("humeral head", (s * 168, 20, 690), (23, 23, 23), uptake)
        shaft = (s * 172.0, 26.0, 705.0), (s * 140.0, 33.0, 1000.0)
        if physiology.arms == "down":
            shaft = (s * 172.0, 22.0, 690.0), (s * 224.0, 16.0, 240.0)
        yield from _bone("humerus", Capsule(*shaft, 11.0), Capsule(*shaft, 5.5), uptake, hu=0.0, cortex=1100.0)
    yield Organ("liver", Ellipsoid((-60, -2, 418), (80, 76, 88)), 58.0, uptake.liver)
    yield Organ("liver", Ellipsoid((18, -46, 440), (56, 32, 38)), 58.0, uptake.liver)
    yield Organ("stomach", Ellipsoid((66, -22, 428), (46, 44, 50)), 38.0, 1.5)
    yield Organ("stomach gas", Ellipsoid((66, -48, 446), (26, 12, 20)), -900.0, 0.4)
    yield Organ("spleen", Ellipsoid((106, 42, 432), (30, 42, 54)), 48.0, uptake.spleen)
    yield Organ("heart", Ellipsoid((26, -28, 540), (50, 46, 54)), 44.0, uptake.blood)
    yield from myocardium(physiology, uptake.myocardium, uptake.blood)
    yield Organ("aorta", Tube(AORTA), 44.0, uptake.blood)
    yield Organ("aortic arch", Capsule((4, -22, 645), (24, 29, 645), 12.5), 44.0, uptake.blood)
    yield Organ("ascending aorta", Capsule((6, -24, 575), (4, -22, 645), 14.0), 44.0, uptake.blood)
    yield Organ("superior vena cava", Capsule((-24, -22, 570), (-22, -20, 670), 9.0), 44.0, uptake.blood)
    yield Organ("inferior vena cava", Capsule((-22, 18, 250), (-20, 6, 505), 11.0), 44.0, uptake.blood)
    yield Organ("pulmonary artery", Capsule((12, -28, 585), (-44, 4, 586), 10.5), 44.0, uptake.blood)
    yield Organ("pulmonary artery", Capsule((12, -28, 592), (48, 4, 592), 10.0), 44.0, uptake.blood)
    yield Organ("trachea", Capsule((0, 10, 604), (0, 0, 760), 8.5), -985.0, 0.2)
    for s in SIDES:
        yield Organ("bronchus", Capsule((0, 10, 604), (s * 42, 14, 574), 5.8), -985.0, 0.2)


def _lung_vessels(side: float, uptake: Uptake, rng: np.random.Generator) -> Iterator[Organ]:
    """Branches from the hilum outwards, thinner the farther they go."""
    hilum = (side * 44.0, 8.0, 582.0)
    for _ in range(36):
        z = float(rng.uniform(480, 680))
        t, reach = float(rng.uniform(0.0, 2.0 * np.pi)), float(rng.uniform(0.45, 0.9))
        height = 1.0 - abs(z - 570.0) / 190.0
        end = (
            side * 78.0 + 46.0 * reach * height * float(np.cos(t)),
            5.0 + 72.0 * reach * height * float(np.sin(t)),
            z,
        )
        middle = tuple(0.5 * (a + b) + float(rng.normal(0.0, 6.0)) for a, b in zip(hilum, end, strict=True))
        joint = (middle[0], middle[1], middle[2])
        yield Organ("lung vessel", Capsule(hilum, joint, float(rng.uniform(1.6, 3.2))), 35.0, 0.7 * uptake.blood)
        yield Organ("lung vessel", Capsule(joint, end, float(rng.uniform(0.7, 1.5))), 20.0, 0.5 * uptake.blood)


def _spine(uptake: Uptake) -> Iterator[Organ]:
    behind = tuple((z, x, y + ry + 9.0, 13.0, 11.0) for z, x, y, _, ry in SPINE)
    process = tuple((z, x, y + ry + 21.0, 3.5, 9.0) for z, x, y, _, ry in SPINE[:-1])
    yield Organ("spinous process", Bands(Tube(process), 31.0, 18.0), 320.0, 0.9)
    yield Organ("vertebral arch", Tube(behind), 380.0, 0.9)
    yield Organ("spinal canal", Tube(behind, inset=4.0), 28.0, 0.9)
    yield Organ("vertebral cortex", Tube(SPINE), 430.0, uptake.marrow)
    yield Organ("vertebral body", Tube(SPINE, inset=2.0), 185.0, uptake.marrow)
    yield Organ("disc", Bands(Tube(SPINE), 31.0, 7.0), 85.0, 0.8)


def _neck_and_head(uptake: Uptake) -> Iterator[Organ]:
    yield Organ("pharynx", Capsule((0, -6, 750), (0, -20, 812), 8.0), -985.0, 0.2)
    yield Organ("thyroid", Ellipsoid((0, -18, 722), (24, 9, 16)), 110.0, 1.2)
    yield Organ("trachea", Capsule((0, -6, 700), (0, -4, 760), 8.5), -985.0, 0.2)
    yield Organ("skull base", Ellipsoid((0, -50, 822), (44, 34, 30)), 260.0, 0.9)
    yield Organ("mandible", Bands(Tube(HEAD, 6.0), 400.0, 26.0, Tube(HEAD, 17.0), 0.0), 60.0, 0.8)
    yield Organ("sinus", Ellipsoid((0, -60, 832), (22, 14, 12)), -980.0, 0.2)
    yield Organ("skull", Ellipsoid((0, 4, 888), (70, 89, 76)), 950.0, 0.8)
    yield Organ("liquor", Ellipsoid((0, 4, 888), (64, 83, 70)), 12.0, 1.0)
    yield Organ("grey matter", Ellipsoid((0, 4, 888), (61, 80, 67)), 38.0, uptake.brain)
    yield Organ("white matter", Ellipsoid((0, 4, 888), (42, 58, 46)), 28.0, 0.45 * uptake.brain)
    yield Organ("basal ganglia", Ellipsoid((0, -4, 880), (22, 18, 14)), 36.0, uptake.brain)
    for s in SIDES:
        yield Organ("ventricle", Ellipsoid((s * 12, 6, 900), (6, 24, 10)), 6.0, 0.8)
        yield Organ("eye", Ellipsoid((s * 32, -78, 852), (12, 12, 12)), 15.0, 0.6)
