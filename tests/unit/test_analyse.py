"""The whole of `infer`, with the model that ships: order of the lesions, cautions, a study without lesion."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from inference.analyse import analyse
from inference.facts import Caution, Instance, Pair, Refused, Series
from inference.model.bundle import find_bundle
from inference.model.predict import Model
from inference.reading.instance import read_instance, scan_folder
from tests.images import image, square, structures, with_pixels

STAGES = ["geometry", "SUV rule", "load PET", "load CT", "regions", "measures", "model"]


@pytest.fixture(scope="module")
def model() -> Model:
    torch.set_num_threads(1)
    return Model.load(find_bundle("demo"))


def series(instances: tuple[Instance, ...]) -> Series:
    return Series("1", "2", instances, "the only one")


def sts(shared_data: Path, region: Instance | None) -> Pair:
    folder = shared_data / "study_sts_001"
    pet, ct = (series(scan_folder(folder / part).instances) for part in ("pet_bqml", "ct"))
    return Pair(pet, ct, region, cautions=(Caution("from-pairing", "said before."),))


@pytest.mark.data
def test_a_given_region(shared_data: Path, model: Model) -> None:
    told: list[str] = []
    pair = sts(shared_data, read_instance(shared_data / "study_sts_001" / "rtstruct_ct.dcm"))
    found = analyse(pair, model, told.append)
    (lesion,) = found.lesions
    assert (lesion.number, lesion.source, lesion.tracking_name) == (1, "RTSTRUCT", "Lesion 1")
    assert lesion.on_pet.suv_max == pytest.approx(7.910674095, rel=1e-6)
    assert lesion.volume_ml == pytest.approx(365.6476, rel=1e-6)
    assert len(found.rule.factors) == len(found.pair.pet.instances) == len(found.suv.array) == 59
    assert found.pair.digest == pair.digest
    assert found.prediction.status in ("reported", "indeterminate")
    assert found.saliency is not None
    assert found.saliency.array.max() == pytest.approx(1.0)
    assert "from-pairing" in [c.code for c in found.cautions]
    assert "region-automatic" not in [c.code for c in found.cautions]
    assert told == list(found.timings_s) == STAGES


@pytest.mark.data
def test_no_region_is_a_proposal_and_says_so(shared_data: Path, model: Model) -> None:
    found = analyse(sts(shared_data, None), model)
    assert {lesion.source for lesion in found.lesions} == {"automatic"}
    assert "region-automatic" in [c.code for c in found.cautions]
    assert [lesion.number for lesion in found.lesions] == list(range(1, len(found.lesions) + 1))


@pytest.mark.data
def test_of_a_proposal_that_may_be_an_organ_no_model_speaks(shared_data: Path, model: Model) -> None:
    """Not even one that takes any tracer: kidneys and glands are the hottest of PSMA."""

    def of_psma(instance: Instance) -> Instance:
        (item,) = instance.get("RadiopharmaceuticalInformationSequence")
        told = {**item, "Radiopharmaceutical": "18F-PSMA-1007", "RadiopharmaceuticalCodeSequence": None}
        return replace(instance, attributes={**instance.attributes, "RadiopharmaceuticalInformationSequence": [told]})

    pair = sts(shared_data, None)
    found = analyse(replace(pair, pet=series(tuple(map(of_psma, pair.pet.instances)))), model)
    assert found.tracer.name == "psma-1007"
    assert found.lesions
    assert (found.prediction.status, found.prediction.applicability) == ("withheld", "outside")
    assert "psma-1007" in " ".join(found.prediction.applicability_reasons)
    assert found.saliency is None


@pytest.mark.data
def test_the_first_given_region_stays_first_and_the_others_follow_by_size(
    shared_data: Path, tmp_path: Path, model: Model
) -> None:
    ds = pydicom.dcmread(shared_data / "study_sts_001" / "rtstruct_ct.dcm")
    whole = ds.ROIContourSequence[0]
    order = sorted(whole.ContourSequence, key=lambda contour: float(contour.ContourData[2]))
    for number, (first, last) in ((101, (8, 14)), (102, (16, 18)), (103, (20, 30))):
        roi, structure = copy.deepcopy(whole), copy.deepcopy(ds.StructureSetROISequence[0])
        roi.ReferencedROINumber = structure.ROINumber = number
        structure.ROIName = f"GTV {number}"
        roi.ContourSequence = order[first:last]
        ds.ROIContourSequence.append(roi)
        ds.StructureSetROISequence.append(structure)
    ds.ROIContourSequence = [ds.ROIContourSequence[n] for n in (2, 1, 3)]  # the smallest first
    ds.save_as(tmp_path / "three.dcm")
    found = analyse(sts(shared_data, read_instance(tmp_path / "three.dcm")), model).lesions
    volumes = [lesion.volume_ml for lesion in found]
    assert volumes[0] == min(volumes)
    assert found[1].on_pet.mtv_ml > found[2].on_pet.mtv_ml
    assert [lesion.tracking_name for lesion in found] == ["Lesion 1", "Lesion 2", "Lesion 3"]


def cold(folder: Path, activity: int = 10) -> Pair:
    values = np.full((12, 12), 10, np.int16)
    uptake = np.full((12, 12), activity, np.int16)
    pet = [with_pixels(image(n, (0.0, 0.0, 3.0 * n), "PT"), uptake, folder) for n in range(8)]
    ct = [with_pixels(image(100 + n, (0.0, 0.0, 3.0 * n)), values, folder) for n in range(8)]
    return Pair(series(tuple(pet)), series(tuple(ct)), None)


def test_no_lesion_is_a_result_without_prediction(tmp_path: Path, model: Model) -> None:
    found = analyse(cold(tmp_path), model)
    assert found.lesions == ()
    assert found.prediction.status == "none"
    assert found.prediction.probability is None
    assert found.saliency is None
    assert "no-lesion-found" in [c.code for c in found.cautions]
    assert found.model == model.facts


def test_a_region_without_uptake_keeps_its_measures(tmp_path: Path, model: Model) -> None:
    pair = replace(cold(tmp_path, 0), region=structures(tmp_path / "s.dcm", [square(9.0, 5.0, 15.0)]))
    found = analyse(pair, model)
    assert found.prediction.status == "withheld"
    assert found.saliency is None
    assert [lesion.volume_ml for lesion in found.lesions] == pytest.approx([0.3])


def test_a_lesion_beyond_the_ct_is_told_though_no_network_looks(tmp_path: Path, model: Model) -> None:
    """The CT's mean is then that of a part."""
    pair = replace(cold(tmp_path, 0), region=structures(tmp_path / "s.dcm", [square(9.0, 5.0, 15.0)]))
    assert "region-without-ct" not in [c.code for c in analyse(pair, model).cautions]
    narrow = [
        with_pixels(image(200 + n, (10.0, 0.0, 3.0 * n)), np.full((12, 12), 10, np.int16), tmp_path) for n in range(8)
    ]
    found = analyse(replace(pair, ct=series(tuple(narrow))), model)
    assert found.prediction.status == "withheld"
    (said,) = [c.text for c in found.cautions if c.code == "region-without-ct"]
    assert "Lesion 1" in said


def test_a_repeated_slice_is_left_out_everywhere(tmp_path: Path, model: Model) -> None:
    pair = cold(tmp_path)
    twin = with_pixels(image(50, (0.0, 0.0, 9.0), "PT"), np.full((12, 12), 10, np.int16), tmp_path)
    pair = replace(pair, pet=replace(pair.pet, instances=(twin, *pair.pet.instances)))
    found = analyse(pair, model)
    assert len(found.pair.pet.instances) == len(found.rule.factors) == len(found.suv.array) == 8
    assert "duplicate-position" in [c.code for c in found.cautions]


def test_two_frames_of_reference_are_refused(tmp_path: Path, model: Model) -> None:
    pair = cold(tmp_path)
    elsewhere = tuple(replace(i, attributes={**i.attributes, "FrameOfReferenceUID": "1.9"}) for i in pair.ct.instances)
    with pytest.raises(Refused) as refused:
        analyse(replace(pair, ct=series(elsewhere)), model)
    assert refused.value.code == "frame-of-reference-differs"
