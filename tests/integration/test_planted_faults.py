"""One fault in the headers of a good study: its SUV and geometry stay as they were, or are flagged, or it is refused.

What nobody can see from the header is listed as such (``UNSEEN``), so that the list stays true.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.assemble import assemble
from dicom_node.errors import ROWS
from inference.facts import Refused, Volume
from inference.geometry.volume import stack
from inference.load import load_ct, load_pet
from inference.reading.instance import scan_folder
from inference.suv.calibration import calibration_cautions
from inference.suv.plausibility import plausibility_cautions
from inference.suv.rule import suv_rule
from inference.suv.tracer import tracer_of
from tests.planted import CT_FAULTS, CT_UNSEEN, PET_FAULTS, UNSEEN, planted, set_value

pytestmark = pytest.mark.data
SAME_SUV = 2.1e-4  # relative: by the nuclide's half-life in place of the file's


@dataclass(frozen=True)
class Outcome:
    """What became of a study: SUV and CT, or ``refused``."""

    refused: str = ""
    cautions: frozenset[tuple[str, str]] = frozenset()
    suv: Volume | None = None
    ct: Volume | None = None


def outcome(folder: Path) -> Outcome:
    """As ``inference.analyse`` up to the regions, after assembly."""
    scan = scan_folder(folder)
    try:
        pair = assemble(scan.instances, scan.set_aside)
        pet, ct = stack(pair.pet.instances), stack(pair.ct.instances)
        rule = suv_rule(pet.instances)
        suv, hu = load_pet(pet, rule), load_ct(ct)
        said = (*pair.cautions, *pet.cautions, *ct.cautions, *rule.cautions)
        said += plausibility_cautions(rule, tracer_of(pet.instances), ())
        said += calibration_cautions(pet.instances, rule, suv)
    except Refused as refused:
        return Outcome(refused=refused.code)
    return Outcome("", frozenset((c.code, c.text) for c in said), suv, hu)


def same(one: Volume | None, other: Volume | None) -> bool:
    return (
        one is not None
        and other is not None
        and one.array.shape == other.array.shape
        and np.allclose(one.affine, other.affine, atol=1e-3)
        and np.allclose(one.array, other.array, rtol=SAME_SUV, atol=1e-6)
    )


@pytest.fixture(scope="module")
def baseline(shared_data: Path) -> Outcome:
    found = outcome(shared_data / "geometry" / "baseline")
    assert not found.refused
    return found


def seen(found: Outcome, baseline: Outcome) -> str:
    """ "refused", "flagged" or "unchanged"; "" where the result differs and nothing is said."""
    if found.refused:
        assert found.refused in ROWS
        return "refused"
    if found.cautions - baseline.cautions:
        return "flagged"
    return "unchanged" if same(found.suv, baseline.suv) and same(found.ct, baseline.ct) else ""


@pytest.mark.parametrize("name", PET_FAULTS)
def test_one_fault_in_the_pet_is_seen_or_changes_nothing(
    name: str, baseline: Outcome, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "geometry" / "baseline"
    found = outcome(planted(source, tmp_path / "study", "pet", PET_FAULTS[name]))
    assert seen(found, baseline), "another SUV or another place, and nothing is said"


@pytest.mark.parametrize("name", CT_FAULTS)
def test_one_fault_in_the_ct_is_seen_or_changes_nothing(
    name: str, baseline: Outcome, shared_data: Path, tmp_path: Path
) -> None:
    source = shared_data / "geometry" / "baseline"
    found = outcome(planted(source, tmp_path / "study", "ct", CT_FAULTS[name]))
    assert seen(found, baseline), "other HU or another place, and nothing is said"


@pytest.mark.parametrize(("where", "name"), [*(("pet", n) for n in UNSEEN), *(("ct", n) for n in CT_UNSEEN)])
def test_what_nobody_can_see(where: str, name: str, baseline: Outcome, shared_data: Path, tmp_path: Path) -> None:
    """Were one of these seen, it would belong into the lists above."""
    change = (UNSEEN if where == "pet" else CT_UNSEEN)[name]
    source = shared_data / "geometry" / "baseline"
    assert seen(outcome(planted(source, tmp_path / "study", where, change)), baseline) == ""


KEYWORDS = sorted(
    {"PatientWeight", "PatientSize", "PatientSex", "PatientID", "Units", "SUVType", "DecayCorrection", "CorrectedImage",
     "SeriesType", "SeriesDate", "SeriesTime", "AcquisitionDate", "AcquisitionTime", "FrameReferenceTime",
     "ActualFrameDuration", "RescaleSlope", "RescaleIntercept", "ImagePositionPatient", "ImageOrientationPatient",
     "PixelSpacing", "FrameOfReferenceUID", "NumberOfSlices", "ImageType", "Rows", "Columns", "BitsStored", "HighBit",
     "PixelRepresentation", "Modality", "RadiopharmaceuticalInformationSequence", "SeriesInstanceUID",
     "StudyInstanceUID", "SOPClassUID", "SpecificCharacterSet", "PatientName", "InstanceNumber", "AcquisitionNumber"}
)  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    where=st.sampled_from(["pet", "ct", "both"]),
    drops=st.lists(st.tuples(st.sampled_from(KEYWORDS), st.booleans(), st.none() | st.integers(0, 7)), max_size=3),
)
def test_attributes_that_are_empty_or_absent(
    where: str,
    drops: list[tuple[str, bool, int | None]],
    baseline: Outcome,
    shared_data: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Any of them, in any slice, in any combination."""

    def change(ds: Dataset, n: int) -> None:
        for keyword, empty, number in drops:
            if number in (None, n):
                set_value(
                    ds, keyword, (None if keyword != "RadiopharmaceuticalInformationSequence" else []) if empty else ...
                )

    target = tmp_path_factory.mktemp("dropped") / "study"
    assert seen(outcome(planted(shared_data / "geometry" / "baseline", target, where, change)), baseline)
