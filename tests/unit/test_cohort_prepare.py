"""From files to arrays: cached by content, made again where damaged, the same in any number of processes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from inference.facts import Refused
from inference.model.inputs import CanonicalRoi, FixedCrop, InputSettings
from inference.model.slices import AxialSlices
from tests.cohort_files import write_cohort, write_study, write_table
from training.cohort import prepare as module
from training.cohort.cache import Entry, Facts, read_entry, write_entry
from training.cohort.prepare import PreparedCohort, prepare
from training.cohort.table import read_cohort
from training.recipe import Progress, Stopped

LOOKS: dict[str, InputSettings] = {"roi": CanonicalRoi(size=8, radius_voxels=3.0)}


def prepared(table: Path, cache: Path, looks: dict[str, InputSettings] = LOOKS, **more: object) -> PreparedCohort:
    return prepare(read_cohort(table), looks, cache=cache, **more)  # type: ignore[arg-type]


def entries(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.npz"))


def changed(cache: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in entries(cache)}


def test_what_recipes_get(tmp_path: Path) -> None:
    table = write_cohort(
        tmp_path,
        6,
        cea=[1.5, 2, "", 4, 5, 6],
        suv_max=[99.0, 98, 97, 96, 95, 94],
        months=[1, 2, 3, 4, "", ""],
        event=[1, 0, 1, 0, "", ""],
        set=["train", "train", "train", "external", "unlabelled", "unlabelled"],
        scanner=["GE", "GE", "S", "S", "S", ""],
    )
    looks = LOOKS | {"crop": FixedCrop(size=8, spacing_mm=5.0)}
    data = prepared(table, tmp_path / "cache", looks).data
    assert len(data) == 6
    assert data.labels.tolist() == [0, 1, 0, 1, -1, -1]
    assert {name: array.shape for name, array in data.inputs.items()} == {
        "roi": (6, 3, 8, 8, 8),
        "crop": (6, 2, 8, 8, 8),
    }
    assert all(array.dtype == np.float32 for array in data.inputs.values())
    assert data.values["cea"] == (1.5, 2.0, None, 4.0, 5.0, 6.0)
    # what serving measures is measured here as well, whatever the table says
    assert data.values["suv_max"] == tuple(data.quantities["suv_max"])
    assert max(v for v in data.values["suv_max"] if isinstance(v, float)) < 10.0
    assert {"mtv_ml", "tlg", "volume_ml"} <= data.values.keys()
    assert data.radiomics.shape == (6, len(data.radiomics_names)) == (6, 25)
    assert data.months.tolist()[:4] == [1, 2, 3, 4]
    assert data.events.tolist() == [1, 0, 1, 0, -1, -1]
    assert data.groups["scanner"] == ("GE", "GE", "S", "S", "S", "")
    assert data.sets == ("train", "train", "train", "external", "unlabelled", "unlabelled")


def test_any_number_of_processes_gives_the_same(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 4)
    told: list[Progress] = []
    one = prepared(table, tmp_path / "one", processes=1, tell=told.append).data
    two = prepared(table, tmp_path / "two", processes=2).data
    np.testing.assert_array_equal(one.inputs["roi"], two.inputs["roi"])
    assert one.digest == two.digest
    assert [p.read_bytes() for p in entries(tmp_path / "one")] == [p.read_bytes() for p in entries(tmp_path / "two")]
    assert [(p.done, p.total) for p in told] == [(i, 4) for i in range(1, 5)]


def test_the_cache_is_used_and_follows_content_and_settings(tmp_path: Path) -> None:
    table, cache = write_cohort(tmp_path, 4), tmp_path / "cache"
    first = prepared(table, cache).data
    before = changed(cache)
    assert len(before) == 4
    assert prepared(table, cache).data.digest == first.digest
    assert changed(cache) == before  # nothing was made again

    write_study(tmp_path, "s1", 77)  # other voxels under the same names
    second = prepared(table, cache).data
    assert len(entries(cache)) == 5
    assert second.digest != first.digest
    assert not np.array_equal(second.inputs["roi"][1], first.inputs["roi"][1])
    np.testing.assert_array_equal(second.inputs["roi"][0], first.inputs["roi"][0])

    prepared(table, cache, {"roi": CanonicalRoi(size=9, radius_voxels=3.0)})
    assert len(entries(cache)) == 9


def test_the_digest_is_of_all_images_whatever_is_looked_at(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 4)
    of_pet = prepared(table, tmp_path / "cache").data.digest
    of_ct = prepared(table, tmp_path / "cache", {"ct": AxialSlices(size=32)}).data.digest
    assert of_pet == of_ct


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[: len(content) // 2],
        lambda _: b"",
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    ],
    ids=["cut", "empty", "one bit"],
)
def test_a_damaged_entry_is_made_again(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    table, cache = write_cohort(tmp_path, 3), tmp_path / "cache"
    whole = prepared(table, cache).data.inputs["roi"].copy()
    file = entries(cache)[0]
    content = file.read_bytes()
    file.write_bytes(damage(content))
    np.testing.assert_array_equal(prepared(table, cache).data.inputs["roi"], whole)
    assert file.read_bytes() == content


def test_entries_survive_writing_and_reading(tmp_path: Path) -> None:
    facts = Facts(
        quantities={"region_ml": 1.5},
        measured={},
        radiomics={"x": float("nan")},
        source="mask",
        voxels=("a",),
        cautions=(("code", "text"),),
    )
    array = np.arange(8, dtype=np.float32).reshape(1, 2, 2, 2)
    write_entry(tmp_path / "a" / "b.npz", Entry(array, facts))
    again = read_entry(tmp_path / "a" / "b.npz")
    assert again is not None
    np.testing.assert_array_equal(again.array, array)
    assert np.isnan(again.facts.radiomics["x"])
    assert again.facts.quantities == facts.quantities
    assert read_entry(tmp_path / "none.npz") is None
    np.savez(tmp_path / "pickled.npz", array=np.array([{}], object), facts=np.zeros(2, np.uint8))
    assert read_entry(tmp_path / "pickled.npz") is None
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["b.npz"]


def test_what_cannot_be_read_refuses_the_run_or_is_left_out_and_listed(tmp_path: Path) -> None:
    table, cache = write_cohort(tmp_path, 6), tmp_path / "cache"
    (tmp_path / "s1_pet.nii").write_bytes(b"damaged")
    (tmp_path / "s4_ct.nii").write_bytes((tmp_path / "s4_ct.nii").read_bytes()[:500])
    with pytest.raises(Refused) as refused:
        prepared(table, cache)
    assert refused.value.code == "cohort-image"
    assert "2 of 6 studies" in refused.value.reason
    assert "row 3 (study P1): s1_pet.nii" in refused.value.reason
    assert "row 6 (study P4): s4_ct.nii" in refused.value.reason

    found = prepared(table, cache, skip_bad=True)
    assert set(found.left_out) == {"P1", "P4"}
    assert found.data.studies == ("P0", "P2", "P3", "P5")
    assert found.data.labels.tolist() == [0, 0, 1, 1]
    for i in (0, 2, 3, 5):
        (tmp_path / f"s{i}_pet.nii").write_bytes(b"damaged")
    with pytest.raises(Refused, match="6 of 6"):
        prepared(table, cache, skip_bad=True)


def test_a_study_that_the_look_cannot_use_is_named_too(tmp_path: Path) -> None:
    rows = []
    for i in range(4):
        paths = write_study(tmp_path, f"s{i}", i)
        rows.append({"patient": f"P{i}", "label": i % 2} | paths | ({"iodine": ""} if i == 2 else {}))
    table = write_table(tmp_path / "cohort.csv", rows)
    with pytest.raises(Refused, match=r"row 4 \(study P2\): column iodine: it is empty"):
        prepared(table, tmp_path / "cache", {"map": AxialSlices.of_iodine(32)})


def test_one_image_under_two_patients_is_refused(tmp_path: Path) -> None:
    table = write_cohort(tmp_path, 4)
    copy = (tmp_path / "s0_pet.nii").read_bytes()
    (tmp_path / "s3_pet.nii").write_bytes(copy)
    with pytest.raises(Refused, match=r"row 2: the same image.*row 5") as refused:
        prepared(table, tmp_path / "cache")
    assert refused.value.code == "cohort-leak"


def test_stopped_and_gone_on_with(tmp_path: Path) -> None:
    table, cache = write_cohort(tmp_path, 5), tmp_path / "cache"
    done: list[Progress] = []
    with pytest.raises(Stopped):
        prepared(table, cache, tell=done.append, stop=lambda: len(done) == 2)
    before = changed(cache)
    assert len(before) == 2
    data = prepared(table, cache).data
    assert len(data) == 5
    assert {path: time for path, time in changed(cache).items() if path in before} == before


def test_large_arrays_are_mapped_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = write_cohort(tmp_path, 3)
    small = prepared(table, tmp_path / "cache").data.inputs["roi"]
    monkeypatch.setattr(module, "IN_MEMORY", 0)
    mapped = prepared(table, tmp_path / "cache").data.inputs["roi"]
    np.testing.assert_array_equal(mapped, small)
    mapped[0] = 7.0  # may not reach the file
    again = prepared(table, tmp_path / "cache").data.inputs["roi"]
    np.testing.assert_array_equal(again, small)
    assert not list(tmp_path.rglob("*.partial"))


@pytest.mark.data
def test_the_real_patients(tmp_path: Path, shared_data: Path) -> None:
    """The table of the tests says what was published, and what is measured is what was published."""
    found = prepared(Path(__file__).parents[1] / "cohorts" / "sts.csv", tmp_path / "cache")
    data = found.data
    assert (len(data), found.left_out) == (20, {})
    with (shared_data / "cohort_sts" / "labels.csv").open() as file:
        published = {row["patient_id"]: row for row in csv.DictReader(file)}
    for i, study in enumerate(data.studies):
        row = published[study]
        assert data.labels[i] == int(row["lung_metastases"])
        assert (data.values["sex"][i], data.values["age"][i]) == (row["sex"], float(row["age_years"]))
        assert data.values["suv_max"][i] == pytest.approx(float(row["suvmax"]), rel=1e-5)
        assert data.values["volume_ml"][i] == pytest.approx(float(row["gtv_volume_ml"]), rel=1e-4)


@pytest.mark.data
def test_the_header_stands_in_for_the_table_and_may_contradict_it(tmp_path: Path, shared_data: Path) -> None:
    folder = shared_data / "cohort_sts"
    rows = [
        {"patient": f"STS_{n:03d}", "label": i % 2, "pet": folder / f"STS_{n:03d}" / "pet"}
        | {"ct": folder / f"STS_{n:03d}" / "ct", "region": folder / f"STS_{n:03d}" / "rtstruct.dcm"}
        for i, n in enumerate([8, 25])
    ]
    data = prepared(write_table(tmp_path / "a.csv", rows), tmp_path / "cache").data
    assert (data.values["sex"], data.values["age"]) == (("F", "M"), (28.0, 76.0))
    table = write_table(tmp_path / "b.csv", [row | {"sex": sex} for row, sex in zip(rows, "MF", strict=True)])
    with pytest.raises(Refused, match=r"row 2 \(study STS_008\): the sex in the table"):
        prepared(table, tmp_path / "cache")  # also where the images come from the cache
