"""Which uptake is an organ's own, told by place, shape and CT; roughly, and after the tracer's pattern.

Every rule asks for several things at once, so that what is doubtful stays a proposed lesion; what is set aside is named
to the reader.  Uptake comes cut between its peaks (``.uptake``), so that a lesion that touches an organ is
judged by its own peak.  FDG's pattern: EANM 2.0 (Boellaard 2015).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import log

import numpy as np

from inference.facts import BoolArray, FloatArray, Tracer, Volume
from inference.lesions.body import Body
from inference.lesions.organs import Organs, within
from inference.lesions.pattern import pattern_of
from inference.lesions.spot import Spot, gap_mm, spot_of, union
from inference.lesions.uptake import MARGIN_MM, Core, is_lump, surroundings

# The wall of the left ventricle is hollow at this share of its maximum, whatever the threshold.
HEART_LEAST_ML, HEART_SHARE, HEART_NEAR_MM = 8.0, 0.55, 15.0
# Two kidneys: hot at mirrored places; what lies this far (x, y, z mm) round them is theirs.
KIDNEYS_APART_X, KIDNEYS_APART_Z, KIDNEY_REACH = 40.0, 60.0, (38.0, 34.0, 62.0)
# The liver's own uptake fills it; the spleen's is even, and lies at the left side of the back under the lung.
LIVER_FILLED, SPLEEN_ML, SPLEEN_CV = 0.6, (60.0, 900.0), 0.35
SPLEEN_BELOW_BASE, SPLEEN_OFF_X, SPLEEN_OFF_Y = (-100.0, 150.0), 30.0, -10.0
# The cavity of the abdomen: so far below the lungs, within the skin, in front of the spine; bowel is not bone.
CAVITY_BELOW_BASE, CAVITY_DEPTH_MM, CAVITY_HU, BONE_HU, BONE_SHARE = (0.0, 430.0), 22.0, 70.0, 200.0, 0.05
CAVITY_FRONT_OF, PELVIS_BELOW_BASE, PELVIS_FRONT_OF = 32.0, 250.0, 60.0
# A lump among the bowel in front is no certain lesion unless it is so many times hotter than the threshold.
AMONG_BOWEL_FRONT_OF, AMONG_BOWEL_BESIDE, AMONG_BOWEL_HOT = 12.0, 60.0, 3.0
# Round a lesion of the liver is liver, and PERCIST's threshold is 1.5 times that and more; round bowel is fat.
LIVER_TO_THRESHOLD = 0.4
BOWEL_LEAST_ML, BOWEL_PIECE_ML, BOWEL_NEAR_MM, GAS_HU = 8.0, 2.0, 25.0, -300.0
# In hot bowel a lump that is so much hotter than the bowel's other peaks may be a lesion.
LUMP_HOTTER, LUMP_LEAST_ML = 1.5, 2.0
URETER_MOST_ML, URETER_SPOT_ML, URETER_OFF_X, URETER_SLENDER, URETER_BELOW_BASE = 6.0, 2.0, (12.0, 70.0), 1.6, 60.0
GLANDS_MOST_ML, GLANDS_APART_MM, GLANDS_OFF_X, GLANDS_ALIKE = 14.0, 10.0, (8.0, 80.0), 0.65
# A brain without its skull in the picture.
BRAIN_ABOVE_LUNGS, BRAIN_LEAST_ML, BRAIN_SHARE_OF_BODY = 60.0, 100.0, 0.2


@dataclass(frozen=True, slots=True)
class Verdict:
    """``organ``: whose own uptake it is, "" for a lesion.  ``doubt``: the organ that it may yet belong to."""

    organ: str = ""
    doubt: str = ""


class Judge:
    """Goes through the rules; what one has taken, the next does not see."""

    def __init__(
        self, cores: Sequence[Core], threshold: float, suv: Volume, body: Body, organs: Organs, tracer: Tracer
    ) -> None:
        self.threshold, self.suv, self.body, self.organs = threshold, suv, body, organs
        self.spots = [spot_of(core, suv, body) for core in cores]
        self.verdicts: dict[int, Verdict] = {}
        self.pattern = pattern_of(tracer)

    def verdicts_in_order(self) -> list[Verdict]:
        """One for each core."""
        rules: dict[str, Callable[[], None]] = {
            "brain": self._brain,
            "bladder": self._bladder,
            "kidney": self._kidneys,
            "heart": self._heart,
            "liver": self._liver_and_spleen,
            "ureter": self._ureters,
            "bowel": self._bowel,
            "glands": self._glands,
        }
        for organ, rule in rules.items():
            if organ in self.pattern:
                rule()
        return [self.verdicts.get(n, Verdict()) for n in range(len(self.spots))]

    def _open(self) -> list[int]:
        return [n for n in range(len(self.spots)) if n not in self.verdicts]

    def _take(self, which: Iterable[int], organ: str) -> None:
        self.verdicts.update(dict.fromkeys(which, Verdict(organ)))

    def _in_place(self, place: BoolArray | None, margin_mm: float = 0.0) -> list[int]:
        if place is None or not self.spots:
            return []
        place = within(place, self.body, margin_mm) if margin_mm else place
        peaks = np.array([s.peak_mm for s in self.spots])
        there = self.body.at(place, peaks, outside=False)
        return [n for n in self._open() if there[n]]

    def _by_component(self, which: Iterable[int]) -> list[list[int]]:
        groups: dict[int, list[int]] = defaultdict(list)
        for n in which:
            groups[self.spots[n].core.component].append(n)
        return list(groups.values())

    def _brain(self) -> None:
        self._take(self._in_place(self.organs.cranium, MARGIN_MM), "brain")
        apex = self.body.apex_mm
        if self.organs.cranium is not None or apex is None:
            return
        above = [n for n in self._open() if self.spots[n].peak_mm[2] > apex + BRAIN_ABOVE_LUNGS]
        for group in self._by_component(above):
            points = np.concatenate([self.spots[n].points for n in group])
            if len(points) * self.suv.voxel_ml > BRAIN_LEAST_ML and self._share_of_body(points) > BRAIN_SHARE_OF_BODY:
                self._take(group, "brain")

    def _share_of_body(self, points: FloatArray) -> float:
        """Area of the points in a slice to that of the body, at the points' middle."""
        z_mm = float(np.median(points[:, 2]))
        area = float(self.body.area_mm2[self.body.slice_at(z_mm)])
        pixels = np.count_nonzero(np.abs(points[:, 2] - z_mm) < self.suv.spacing_mm[0] / 2 + 1e-3)
        return pixels * float(np.prod(self.suv.spacing_mm[1:])) / max(area, 1.0)

    def _bladder(self) -> None:
        self._take(self._in_place(self.organs.bladder, MARGIN_MM), "bladder")

    def _kidneys(self) -> None:
        there = self._in_place(self.organs.kidneys)
        left, right = ([n for n in there if side * self.spots[n].off_mm[0] > 0] for side in (1.0, -1.0))
        pairs = [(self._likeness(a, b), a, b) for a in left for b in right]
        score, *best = max(pairs, default=(-np.inf, 0, 0))
        if score == -np.inf:  # one alone may be a single kidney
            self.verdicts.update(dict.fromkeys(there, Verdict(doubt="kidney")))
            return
        for one in best:
            middle = self.spots[one].peak_mm
            near = [n for n in there if ((np.abs(self.spots[n].peak_mm - middle) / KIDNEY_REACH) ** 2).sum() <= 1.0]
            self._take(near, "kidney")
        theirs = {self.spots[n].core.component for n, v in self.verdicts.items() if v.organ == "kidney"}
        rest = [n for n in there if n not in self.verdicts and self.spots[n].core.component in theirs]
        self.verdicts.update(dict.fromkeys(rest, Verdict(doubt="kidney")))

    def _likeness(self, a: int, b: int) -> float:
        """How well two peaks go as a pair of kidneys: hot, and at mirrored places."""
        one, other = self.spots[a], self.spots[b]
        dx, dz = abs(one.off_mm[0] + other.off_mm[0]), abs(one.peak_mm[2] - other.peak_mm[2])
        if dx > KIDNEYS_APART_X or dz > KIDNEYS_APART_Z:
            return -np.inf
        return float(log(one.core.suv * other.core.suv) - dx / KIDNEYS_APART_X - dz / KIDNEYS_APART_Z)

    def _heart(self) -> None:
        there = self._in_place(self.organs.heart)
        for group in self._by_component(there):
            if self._ml(group) > HEART_LEAST_ML and not self._is_lump(group, HEART_SHARE):
                self._take(group, "heart")
        taken = [self.spots[n].points for n, v in self.verdicts.items() if v.organ == "heart"]
        for group in self._by_component([n for n in there if n not in self.verdicts]):
            if any(gap_mm(self.spots[n], taken) < HEART_NEAR_MM for n in group):
                if self._is_lump(group):
                    self.verdicts.update(dict.fromkeys(group, Verdict(doubt="heart")))
                else:
                    self._take(group, "heart")

    def _liver_and_spleen(self) -> None:
        """What fills the liver on the CT; an even uptake of a spleen's size at its place."""
        base = self.body.base_mm
        if base is None:
            return
        for group in self._by_component(self._open()):
            points = np.concatenate([self.spots[n].points for n in group])
            centre = points.mean(axis=0)
            x, y = self.body.off_middle(centre[None])[0]
            low, high = SPLEEN_BELOW_BASE
            in_place = low < base - float(centre[2]) < high and x > SPLEEN_OFF_X and y > SPLEEN_OFF_Y
            if self._fills_liver(group):
                self._take(group, "liver")
            elif in_place and SPLEEN_ML[0] < self._ml(group) < SPLEEN_ML[1] and self._variation(points) < SPLEEN_CV:
                self._take(group, "spleen")

    def _fills_liver(self, group: Sequence[int]) -> bool:
        if self.organs.liver_core is None:
            return False
        cells = self.body.volume.to_lps(np.argwhere(self.organs.liver_core))
        index = np.rint(self.suv.to_index(cells)).astype(int)
        box, start = union([self.spots[n].core for n in group])
        local = index - start
        inside = ((local >= 0) & (local < box.shape)).all(axis=1)
        return bool(box[tuple(local[inside].T)].sum() > LIVER_FILLED * len(cells))

    def _variation(self, points: FloatArray) -> float:
        """Standard deviation of the uptake to its mean."""
        index = np.rint(self.suv.to_index(points)).astype(int)
        values = self.suv.array[tuple(index.T)].astype(float)
        return float(values.std() / values.mean())

    def _ureters(self) -> None:
        for n in self._open():
            s = self.spots[n]
            down, across = s.size_mm
            beside_spine = URETER_OFF_X[0] < abs(s.off_mm[0]) < URETER_OFF_X[1]
            if self._below(s.peak_mm) < URETER_BELOW_BASE or not beside_spine:
                continue
            if s.ml < URETER_MOST_ML and down > URETER_SLENDER * across:
                self._take([n], "ureter")
            elif s.ml < URETER_SPOT_ML:
                self.verdicts[n] = Verdict(doubt="ureter")

    def _bowel(self) -> None:
        liver = {n for n in self._in_place(self.organs.liver) if self._in_liver(self.spots[n])}
        inside = [n for n in self._open() if n not in liver and self._in_cavity(self.spots[n])]
        fragments: list[int] = []
        for group in self._by_component(inside):
            if self._ml(group) < BOWEL_PIECE_ML or self._is_lump(group):
                fragments += group
            elif self._ml(group) < BOWEL_LEAST_ML:
                self.verdicts.update(dict.fromkeys(group, Verdict(doubt="bowel")))
            else:
                lumps = self._lumps(group)
                self._take([n for n in group if n not in lumps], "bowel")
                fragments += lumps
        taken = [self.spots[n].points for n, v in self.verdicts.items() if v.organ == "bowel"]
        for n in fragments:
            s = self.spots[n]
            if gap_mm(s, taken) < BOWEL_NEAR_MM or self._holds_gas(s) or self._among_bowel(s):
                self.verdicts[n] = Verdict(doubt="bowel")

    def _lumps(self, group: list[int]) -> list[int]:
        """Cores of hot bowel that are neither thin nor as hot as the rest."""
        if len(group) < 2:
            return []
        usual = float(np.median([self.spots[n].core.suv for n in group]))
        return [
            n
            for n in group
            if self.spots[n].core.suv > LUMP_HOTTER * usual and self.spots[n].ml > LUMP_LEAST_ML and self._is_lump([n])
        ]

    def _in_cavity(self, s: Spot) -> bool:
        low, high = CAVITY_BELOW_BASE
        below = self._below(s.peak_mm)
        back = PELVIS_FRONT_OF if below > PELVIS_BELOW_BASE else CAVITY_FRONT_OF
        if not (low < below < high) or s.off_mm[1] > back or s.mean_hu > CAVITY_HU:
            return False
        if (self.body.at(self.body.hu, s.points, outside=0.0) > BONE_HU).mean() > BONE_SHARE:
            return False
        around = s.peak_mm + CAVITY_DEPTH_MM * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]])
        return bool(self.body.at(self.body.volume.array, around, outside=False).all())

    def _below(self, peak_mm: FloatArray) -> float:
        """mm below the lungs; -inf where they are not in the picture."""
        return -np.inf if self.body.base_mm is None else self.body.base_mm - float(peak_mm[2])

    def _in_liver(self, s: Spot) -> bool:
        return surroundings(self.suv, s.core.region) > LIVER_TO_THRESHOLD * self.threshold

    def _among_bowel(self, s: Spot) -> bool:
        x, y = s.off_mm
        beside = y < AMONG_BOWEL_FRONT_OF or abs(x) > AMONG_BOWEL_BESIDE
        there = beside or self._below(s.peak_mm) > PELVIS_BELOW_BASE
        return bool(there and s.core.suv < AMONG_BOWEL_HOT * self.threshold)

    def _holds_gas(self, s: Spot) -> bool:
        return bool((self.body.at(self.body.hu, s.points, outside=0.0) < GAS_HU).any())

    def _glands(self) -> None:
        if self.body.lungs_mm is None and self.organs.cranium is None:
            return
        apex = self.body.lungs_mm[1] if self.body.lungs_mm else -np.inf
        for n in self._open():
            s = self.spots[n]
            off = abs(s.off_mm[0])
            in_neck = s.peak_mm[2] > apex and GLANDS_OFF_X[0] < off < GLANDS_OFF_X[1] and s.ml < GLANDS_MOST_ML
            if in_neck and self._mirrored_suv(s) > GLANDS_ALIKE * s.core.suv:
                self.verdicts[n] = Verdict(doubt="salivary glands or tonsils")

    def _mirrored_suv(self, s: Spot) -> float:
        """The highest uptake near the place that mirrors the peak's."""
        index = self.suv.to_index(s.peak_mm - [2.0 * s.off_mm[0], 0.0, 0.0])
        reach = np.divide(GLANDS_APART_MM, self.suv.spacing_mm)
        low, high = np.maximum(np.floor(index - reach), 0).astype(int), np.ceil(index + reach).astype(int) + 1
        values = self.suv.array[tuple(slice(a, b) for a, b in zip(low, np.maximum(high, 0), strict=True))]
        return float(values.max()) if values.size else 0.0

    def _ml(self, which: Sequence[int]) -> float:
        return sum(self.spots[n].ml for n in which)

    def _is_lump(self, which: Sequence[int], share: float = 0.0) -> bool:
        """Whether the cores taken together, above a share of their maximum, are a lump."""
        points = np.concatenate([self.spots[n].points for n in which])
        if share:
            index = np.rint(self.suv.to_index(points)).astype(int)
            bound = share * max(self.spots[n].core.suv for n in which)
            points = points[self.suv.array[tuple(index.T)] >= bound]
        return is_lump(points, self.suv)
