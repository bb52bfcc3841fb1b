"""Where lesions are planted in the whole-body phantom, how large and how hot.

Places are those of the 75 kg figure of 1.75 m (LPS, mm).  A third of them touches an organ with uptake of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.phantom.lesion import PlantedLesion, lesion_of_score
from training.phantom.solids import Triple


@dataclass(frozen=True, slots=True)
class Site:
    """A place for a lesion, how far it may lie from it along x, y, z, its radii and CT number.

    ``neighbour``: the organ with uptake of its own that it touches, "" for none.
    """

    name: str
    centre_mm: Triple
    spread_mm: Triple
    radius_mm: tuple[float, float]
    hu: float = 40.0
    neighbour: str = ""


PLACES = (
    Site("right upper lobe", (-70, -2, 648), (8, 15, 15), (7, 22)),
    Site("right lower lobe", (-84, 30, 520), (10, 20, 20), (7, 22)),
    Site("left upper lobe", (68, -2, 640), (8, 15, 15), (7, 20)),
    Site("paratracheal node", (-22, 4, 624), (3, 5, 15), (7, 12)),
    Site("liver", (-80, -4, 430), (22, 18, 25), (9, 22), 45.0),
    Site("lumbar vertebra", (0, 44, 285), (4, 4, 35), (8, 13), 60.0),
    Site("thoracic vertebra", (0, 52, 560), (3, 3, 60), (8, 11), 60.0),
    Site("ilium", (96, 30, 200), (5, 20, 25), (8, 15), 80.0),
    Site("supraclavicular node", (46, 0, 714), (5, 5, 4), (7, 11)),
    Site("axillary node", (-128, 14, 640), (4, 10, 12), (7, 13)),
    Site("thigh", (-94, -20, 22), (10, 12, 8), (10, 24), 45.0),
    Site("chest wall", (112, -66, 560), (6, 6, 25), (8, 16)),
    Site("left lower lobe", (90, 14, 515), (6, 14, 14), (8, 16), neighbour="heart"),
    Site("subcarinal node", (0, 6, 578), (4, 4, 6), (7, 11), neighbour="heart"),
    Site("adrenal gland", (-52, 30, 424), (5, 5, 5), (8, 14), neighbour="kidney"),
    Site("retroperitoneal node", (-22, 22, 300), (8, 4, 35), (8, 14), neighbour="kidney"),
    Site("iliac node", (62, -6, 128), (6, 8, 12), (8, 14), neighbour="bladder"),
    Site("cervix or prostate", (0, 22, 70), (4, 3, 6), (10, 16), 45.0, neighbour="bladder"),
    Site("mesenteric node", (20, -28, 250), (25, 12, 30), (8, 14), neighbour="bowel"),
    Site("neck node", (46, 0, 752), (4, 8, 14), (7, 12), neighbour="salivary glands"),
)


@dataclass(frozen=True, slots=True)
class Planted:
    """A lesion with its site's name and neighbour."""

    site: Site
    lesion: PlantedLesion


def plant(
    score: float,
    scale: Triple,
    liver: float,
    rng: np.random.Generator,
    places: Sequence[Site] = PLACES,
    most: int = 3,
) -> tuple[Planted, ...]:
    """One to ``most`` lesions at different places of a patient who is ``scale`` times the figure along x, y, z.

    Uptake before blur: log-normal round 9, at most 20 and at least 2.75 times the liver's (PERCIST calls measurable
    what reaches 1.5 times after it); semi-axes: 0.8 to 1.25 times a common one.
    """
    count = int(rng.integers(1, most + 1))
    planted = []
    for index in rng.choice(len(places), count, replace=False):
        site = places[int(index)]
        moved = np.add(site.centre_mm, np.multiply(site.spread_mm, rng.uniform(-1.0, 1.0, 3)))
        x, y, z = (float(v) for v in moved * scale)
        a, b, c = (float(v) for v in rng.uniform(0.8, 1.25, 3))
        suv = float(np.clip(np.exp(rng.normal(np.log(9.0), 0.35)), max(5.0, 2.75 * liver), 20.0))
        radius_mm = float(rng.uniform(*site.radius_mm))
        lesion = lesion_of_score(score, (x, y, z), radius_mm, suv, hu=site.hu, shape=(a, b, c))
        planted.append(Planted(site, lesion))
    return tuple(planted)
