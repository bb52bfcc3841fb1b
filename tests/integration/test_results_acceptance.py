"""Every object we can write, default and optional, passes what is asked of a result before it goes to an archive.

Every study is validated, written twice, stored in an archive and fetched again, with every object.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicom_node.assemble import assemble
from dicom_node.demo.orthanc_process import PrivateOrthanc
from dicom_node.report import write_refusal, write_results
from dicom_node.report.write import DEFAULT, OPTIONAL
from inference.analyse import analyse
from inference.facts import Analysis, Pair, Refused, Result, Run
from inference.model.bundle import find_bundle
from inference.model.predict import Model
from inference.reading.instance import scan_folder
from tests.integration.test_results_peers import assert_same_in_dcmqi, run, tool
from tests.optional_objects import assert_valid
from tests.report_case import MODEL, REPORTED, RUN, TURNS, ball, lesion_of, make_analysis, real_analysis
from training.phantom.study import write_phantom_study

pytestmark = [pytest.mark.peers, pytest.mark.data]

NAMES = ("name_arabic", "name_chinese", "name_japanese", "name_russian", "name_utf8_mixed")
STUDIES = ("real", "phantom", "oblique", "descending", *NAMES)
KINDS = (*DEFAULT, *OPTIONAL)
ALL_OBJECTS: Run = replace(RUN, also=tuple(OPTIONAL))
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
KB, MB = 1 << 10, 1 << 20
BOUNDS = {"sr": 256 * KB, "sr_viewer": 256 * KB, "seg": 5 * MB, "key_image": 1 * MB, "heatmap": 30 * MB}
WHOLE_SET = 40 * MB


@dataclass(frozen=True)
class Written:
    """An analysis and the files written of it.  ``patient_name``: as it must stand in each, "" as in the source."""

    analysis: Analysis
    results: Mapping[str, Sequence[Result]]
    patient_name: str = ""

    @property
    def first(self) -> dict[str, Result]:
        return {kind: found[0] for kind, found in self.results.items() if found}

    def each(self) -> Iterator[tuple[Result, Dataset]]:
        """Every object; of a series of many the first, the middle and the last."""
        for found in self.results.values():
            for index in sorted({0, len(found) // 2, len(found) - 1}) if found else ():
                yield found[index], pydicom.dcmread(found[index].path)


def write(analysis: Analysis, folder: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {}
    for result in write_results(analysis, ALL_OBJECTS, folder):
        found.setdefault(result.kind, []).append(result)
    return found


def with_a_lesion(analysis: Analysis) -> Analysis:
    """Where nobody drew one, around the maximum."""
    hottest = np.unravel_index(analysis.suv.array.argmax(), analysis.suv.array.shape)
    region = ball(analysis.suv, tuple(analysis.suv.to_lps(hottest).tolist()), 15.0)
    return replace(analysis, lesions=(lesion_of(analysis.suv, region, 1, "automatic"),))


def of_phantom(folder: Path) -> Analysis:
    """As the node makes it: our own proposal of lesions, the demonstration model."""
    write_phantom_study(folder, seed=7)
    return analyse(assemble(scan_folder(folder).instances), Model.load(find_bundle("demo"), device="cpu", threads=1))


def make(study: str, folder: Path, shared_data: Path) -> tuple[Analysis, str]:
    if study == "real":
        real = shared_data / "study_sts_001"
        return real_analysis(real / "pet_bqml", real / "ct", real / "rtstruct_ct.dcm"), ""
    if study == "phantom":
        return of_phantom(folder), ""
    if study in NAMES:
        case = shared_data / "robustness" / study
        expected = json.loads((case / "case.json").read_text())["truth"]["patient_name"]
        return with_a_lesion(real_analysis(case / "pet", case / "ct", None)), expected
    turn = {"oblique": "oblique", "descending": "feet-first"}[study]
    return make_analysis(folder, balls=TWO, turn=TURNS[turn], numbered_down=study == "descending"), ""


@pytest.fixture(scope="module")
def get(tmp_path_factory: pytest.TempPathFactory, shared_data: Path) -> Callable[[str], Written]:
    """The study's results, written when they are first asked for."""
    made: dict[str, Written] = {}

    def written(study: str) -> Written:
        if study not in made:
            folder = tmp_path_factory.mktemp(study)
            analysis, name = make(study, folder / "in", shared_data)
            made[study] = Written(analysis, write(analysis, folder / "out"), name)
        return made[study]

    return written


def must_be_there(analysis: Analysis) -> set[str]:
    """All kinds, less those that would be empty: a person's region is not copied, no saliency gives no map."""
    missing = set()
    if all(lesion.source != "automatic" for lesion in analysis.lesions):
        missing.add("rtstruct")
    if analysis.saliency is None:
        missing.add("parametric_map")
    return set(KINDS) - missing


# --------------------------------------------------------------------------------------------- (a), (b): validators


@pytest.mark.parametrize("study", STUDIES)
def test_every_object_is_written_and_valid(get: Callable[[str], Written], study: str) -> None:
    written = get(study)
    assert set(written.first) == must_be_there(written.analysis)
    for result, ds in written.each():
        assert_valid(result.path)
        if ds.Modality in ("SR", "KO"):
            assert run(tool("dsrdump"), str(result.path)).returncode == 0


def test_a_refusal_is_valid(tmp_path: Path, shared_data: Path) -> None:
    images = scan_folder(shared_data / "robustness" / "name_japanese").instances
    written = write_refusal(images, Refused("no-ct", "There is no CT."), MODEL, ALL_OBJECTS, tmp_path)
    assert {"sr", "key_image"} <= {result.kind for result in written}
    for result in written:
        assert_valid(result.path)
        assert result.path.stat().st_size <= BOUNDS[result.kind]


# ----------------------------------------------------------------------------- (c), (d): other readers, same numbers


@pytest.mark.parametrize("study", STUDIES)
def test_dcmqi_reads_the_same(get: Callable[[str], Written], study: str, tmp_path: Path) -> None:
    assert_same_in_dcmqi(get(study).analysis, get(study).first, tmp_path)


def assert_among(expected: Sequence[float], found: Sequence[float]) -> None:
    """Each to three decimals, or to the six significant digits that are written."""
    for number in expected:
        assert min(abs(value - number) for value in found) < max(5e-4, 1e-5 * number), (number, found)


@pytest.mark.parametrize("study", STUDIES)
def test_highdicom_reads_the_same_numbers(get: Callable[[str], Written], study: str) -> None:
    analysis, first = get(study).analysis, get(study).first
    main, viewer = (hd.sr.srread(first[kind].path).content for kind in ("sr", "sr_viewer"))
    groups = {
        "sr": main.get_volumetric_roi_measurement_groups(),
        "sr_viewer": viewer.get_planar_roi_measurement_groups(),
    }
    for lesion in analysis.lesions:
        found = {
            kind: [
                float(measurement.value)
                for group in of_kind
                if group.tracking_identifier in (lesion.tracking_name, f"{lesion.tracking_name} MTV")
                for measurement in group.get_measurements()
            ]
            for kind, of_kind in groups.items()
        }
        uptake = (lesion.on_pet.suv_max, lesion.on_pet.suv_mean, lesion.on_pet.suv_peak)
        assert_among((*uptake, lesion.volume_ml, lesion.mean_hu, lesion.on_pet.mtv_ml, lesion.on_pet.tlg), found["sr"])
        assert_among(uptake, found["sr_viewer"])


@pytest.mark.parametrize("study", STUDIES)
def test_highdicom_reads_the_same_voxels(get: Callable[[str], Written], study: str) -> None:
    analysis, first = get(study).analysis, get(study).first
    seg = hd.seg.segread(first["seg"].path)
    numbers = {str(seg.get_segment_description(n).tracking_id): n for n in seg.segment_numbers}
    for lesion in analysis.lesions:
        volume = seg.get_volume(segment_numbers=[numbers[lesion.tracking_name]], combine_segments=False)
        assert int((volume.array > 0).sum()) == int(lesion.region.mask.sum())
    if analysis.saliency is not None:
        found = hd.imread(first["parametric_map"].path).get_volume(apply_real_world_transform=True).array
        assert found.max() == pytest.approx(float(analysis.saliency.array.max()), abs=5e-4)
        assert found.sum() == pytest.approx(float(analysis.saliency.array.sum()), rel=1e-4)


# --------------------------------------------------------------------------------------------------- (e): the archive


def differences(sent: Dataset, returned: Dataset) -> list[str]:
    """Tags of elements that are missing, new or other; values are compared as pydicom reads them."""
    tags = {e.tag for e in sent} | {e.tag for e in returned}
    return [str(tag) for tag in sorted(tags) if tag not in sent or tag not in returned or sent[tag] != returned[tag]]


@pytest.mark.parametrize("study", STUDIES)
def test_an_archives_dicomweb_gives_each_back_as_it_was(
    get: Callable[[str], Written], orthanc: PrivateOrthanc, study: str
) -> None:
    """STOW-RS, then QIDO-RS and WADO-RS."""
    client = DICOMwebClient(orthanc.dicomweb_url)
    for found in get(study).results.values():
        sent = {result.sop_instance_uid: pydicom.dcmread(result.path) for result in found}
        client.store_instances(list(sent.values()))
        for series in {(result.study_instance_uid, result.series_instance_uid) for result in found}:
            count = len(client.search_for_instances(*series))
            assert count == sum(result.series_instance_uid == series[1] for result in found)
            # as it lies in the archive: without naming a transfer syntax DICOMweb would decompress
            for returned in client.retrieve_series(*series, media_types=(("application/dicom", "*"),)):
                original = sent.pop(str(returned.SOPInstanceUID))
                assert differences(original, returned) == [], found[0].kind
                assert returned.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
        assert not sent, "each came back"


# ------------------------------------------------------------------------------------------ (f): the same bytes again


@pytest.mark.parametrize("study", STUDIES)
def test_the_same_run_writes_the_same_bytes(get: Callable[[str], Written], study: str, tmp_path: Path) -> None:
    again = write(get(study).analysis, tmp_path)
    for kind, found in get(study).results.items():
        assert [r.sha256 for r in again[kind]] == [r.sha256 for r in found], kind


# ------------------------------------------------------------------------------------------------ (g): whose it is


@pytest.mark.parametrize("study", STUDIES)
def test_patient_and_use_stand_in_each_header(get: Callable[[str], Written], study: str) -> None:
    written = get(study)
    source = pydicom.dcmread(written.analysis.pair.pet.instances[0].path, stop_before_pixels=True)
    source.decode()
    for result, ds in written.each():
        assert str(ds.PatientName) == (written.patient_name or str(source.PatientName)), result.kind
        assert ds.PatientID == source.PatientID
        assert ds.StudyInstanceUID == source.StudyInstanceUID
        assert "research use only" in str(ds.SeriesDescription)
        if "PixelData" in ds and ds.Modality == "OT":
            assert ds.BurnedInAnnotation == "NO", result.kind


def test_no_picture_and_no_page_tells_whose_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another patient and other dates in the header leave every pixel as it was.

    The printed page names the report by its UID, which is of the content: that is held still.
    """
    monkeypatch.setattr(Pair, "digest", "d" * 64)
    other = {
        "PatientName": "Other^Person",
        "PatientID": "P-2",
        "PatientBirthDate": "19991231",
        "AccessionNumber": "A2",
        "StudyDate": "20250101",
        "StudyTime": "235959",
        "StudyID": "S2",
    }
    one, two = (
        write(make_analysis(tmp_path / name, header=header), tmp_path / name / "out")
        for name, header in (("one", {}), ("two", other))
    )
    drawn = 0
    for kind, found in one.items():
        for mine, theirs in zip(found, two[kind], strict=True):
            first, second = pydicom.dcmread(mine.path), pydicom.dcmread(theirs.path)
            assert first.PatientID != second.PatientID
            for keyword in ("PixelData", "FloatPixelData", "EncapsulatedDocument"):
                assert first.get(keyword) == second.get(keyword), (kind, keyword)
                drawn += keyword in first
    assert drawn >= 4


# --------------------------------------------------------------------------------------------------------- (h): sizes


@pytest.mark.parametrize("study", STUDIES)
def test_sizes_stay_within_what_archives_and_people_bear(get: Callable[[str], Written], study: str) -> None:
    sizes = {r.path: r.path.stat().st_size for found in get(study).results.values() for r in found}
    for kind, bound in BOUNDS.items():
        for result in get(study).results[kind]:
            assert sizes[result.path] <= bound, kind
    assert sum(sizes[result.path] for kind in DEFAULT for result in get(study).results[kind]) <= WHOLE_SET
    assert max(sizes.values()) <= BOUNDS["heatmap"]


def test_every_study_has_a_lesion_and_an_answer(get: Callable[[str], Written]) -> None:
    """Else half of the above would look at nothing."""
    for study in STUDIES:
        assert get(study).analysis.lesions, study
        assert get(study).analysis.prediction.status in (REPORTED.status, "indeterminate", "withheld"), study
