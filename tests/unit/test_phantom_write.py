"""A phantom cohort on disk and in memory: the same voxels, resumable, and nothing about the files tells the label."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from dicom_node.cli import app
from inference.facts import Refused
from inference.model.inputs import CanonicalRoi, InputSettings
from inference.model.slices import AxialSlices
from inference.model.whole_body import WholeBody
from training.cohort.prepare import prepare
from training.cohort.table import read_cohort
from training.phantom import prepared as in_memory
from training.phantom.prepared import prepare_phantom
from training.phantom.presets import PRESETS
from training.phantom.settings import PhantomSettings
from training.phantom.subjects import draw_subjects
from training.phantom.write import space_needed, write_cohort
from training.recipe import Progress, Stopped

LOOKS: dict[str, InputSettings] = {
    "ussl": CanonicalRoi(),
    "cpc": CanonicalRoi(),
    "dlr": AxialSlices.of_ct(32),
    "dfsigm": AxialSlices.of_iodine(32, divide_by="aorta_iodine"),
    "prrt_pfs": WholeBody(shape=(64, 32, 32), spacing_mm=8.0),
}


def rows(table: Path) -> list[dict[str, str]]:
    with table.open(newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("name", PRESETS)
def test_what_is_written_is_what_is_prepared_in_memory(name: str, tmp_path: Path) -> None:
    more = {"in-domain": 2} if name == "ussl" else {}
    settings = PhantomSettings(name, subjects=4 if name == "prrt_pfs" else 8, seed=2, unlabelled=more, flip_labels=0.3)
    written = write_cohort(tmp_path / "cohort", settings)
    from_files = prepare(read_cohort(written.table), {"look": LOOKS[name]}, cache=tmp_path / "cache").data
    made = prepare_phantom(settings, {"look": LOOKS[name]})
    assert made.patients == from_files.patients
    assert made.studies == from_files.studies
    assert made.centres == from_files.centres
    assert made.sets == from_files.sets
    assert made.labels.tolist() == from_files.labels.tolist()
    assert made.inputs["look"] == pytest.approx(from_files.inputs["look"], abs=2e-3)
    assert made.radiomics_names == from_files.radiomics_names
    for column, values in from_files.values.items():
        if column in made.values:
            assert made.values[column] == values
    if PRESETS[name].outcome != "none":
        assert made.months == pytest.approx(from_files.months, nan_ok=True)
        assert made.events.tolist() == from_files.events.tolist()
    for quantity, found in made.quantities.items():
        assert found == pytest.approx(from_files.quantities[quantity], rel=1e-4, abs=1e-4)


def test_the_same_settings_write_the_same_bytes(tmp_path: Path) -> None:
    settings = PhantomSettings("cpc", subjects=3)
    for folder in ("one", "other"):
        write_cohort(tmp_path / folder, settings)
    one, other = (
        {p.relative_to(tmp_path / f): p.read_bytes() for p in sorted((tmp_path / f).rglob("*")) if p.is_file()}
        for f in ("one", "other")
    )
    assert one == other
    assert len(one) == 3 + 3 * 3


def test_a_stopped_call_goes_on(tmp_path: Path) -> None:
    settings = PhantomSettings("dlr", subjects=6)
    told: list[Progress] = []
    with pytest.raises(Stopped):
        write_cohort(tmp_path, settings, tell=told.append, stop=lambda: len(told) == 3)
    assert not (tmp_path / "cohort.csv").exists()
    first = tmp_path / "images" / "P000000" / "ct.nii"
    before = first.stat().st_mtime_ns
    assert write_cohort(tmp_path, settings, tell=told.append).subjects == 6
    assert first.stat().st_mtime_ns == before
    assert told[-1].done == told[-1].total == 6
    assert len(rows(tmp_path / "cohort.csv")) == 6


def test_a_folder_with_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(Refused, match="something else") as refused:
        write_cohort(tmp_path, PhantomSettings("dlr", subjects=2))
    assert refused.value.code == "phantom-folder"
    write_cohort(tmp_path / "new", PhantomSettings("dlr", subjects=2))
    with pytest.raises(Refused, match="something else"):
        write_cohort(tmp_path / "new", PhantomSettings("dlr", subjects=2, seed=1))


def test_more_than_the_disk_holds_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    settings = PhantomSettings("dlr", subjects=100_000)
    with pytest.raises(Refused, match="fewer subjects") as refused:
        write_cohort(tmp_path / "new", settings, keep_free=2**60)
    assert refused.value.code == "phantom-no-space"
    assert not (tmp_path / "new").exists()


def test_the_space_that_is_asked_for_is_what_the_files_take(tmp_path: Path) -> None:
    settings = PhantomSettings("cpc", subjects=12)
    write_cohort(tmp_path, settings)
    taken = sum(p.stat().st_size for p in (tmp_path / "images").rglob("*.nii"))
    assert taken <= space_needed(settings) < 1.6 * taken


def test_names_order_and_sizes_tell_nothing_of_the_label(tmp_path: Path) -> None:
    """Sizes depend on the centre's grid alone."""
    settings = PhantomSettings("cpc", subjects=24)
    write_cohort(tmp_path, settings)
    table = rows(tmp_path / "cohort.csv")
    assert [row["patient"] for row in table] == [f"P{n:06d}" for n in range(24)]
    sizes = {
        (row["centre"], *((tmp_path / row[role]).stat().st_size for role in ("pet", "ct", "region"))) for row in table
    }
    assert len(sizes) == len({row["centre"] for row in table}) == 2
    assert len({row["label"] for row in table}) == 2


def test_the_truth_lies_beside_the_table_and_not_in_it(tmp_path: Path) -> None:
    settings = PhantomSettings("prrt_pfs", subjects=30)
    written = write_cohort(tmp_path, settings)
    truth = json.loads((tmp_path / "truth.json").read_text())
    assert truth["bayes_auc"]["pet+ct+clinical"] == pytest.approx(0.72, abs=1e-3)
    assert written.bayes_auc == truth["bayes_auc"]
    assert [s["label"] for s in truth["subjects"]] == [s.label for s in draw_subjects(settings)]
    header = set(rows(tmp_path / "cohort.csv")[0])
    assert not header & {"label_true", "hidden", "scores", "outlier", "kind"}
    read = read_cohort(written.table)
    assert "cycles" in read.set_aside
    assert "cycles" not in {column.name for column in read.columns}


def test_the_cache_is_used_and_a_damaged_part_made_again(tmp_path: Path) -> None:
    settings = PhantomSettings("ussl", subjects=5, unlabelled={})
    first = prepare_phantom(settings, {"roi": CanonicalRoi(size=8)}, cache=tmp_path)
    part = next(tmp_path.rglob("000000.npz"))
    whole = part.read_bytes()
    before = part.stat().st_mtime_ns
    again = prepare_phantom(settings, {"roi": CanonicalRoi(size=8)}, cache=tmp_path)
    assert part.stat().st_mtime_ns == before
    assert isinstance(again.inputs["roi"], np.memmap)
    assert again.inputs["roi"].tobytes() == first.inputs["roi"].tobytes()
    part.write_bytes(whole[:1000])
    mended = prepare_phantom(settings, {"roi": CanonicalRoi(size=8)}, cache=tmp_path)
    assert mended.inputs["roi"].tobytes() == first.inputs["roi"].tobytes()
    assert part.stat().st_size == len(whole)
    other = prepare_phantom(PhantomSettings("ussl", subjects=5, unlabelled={}, seed=1), {"roi": CanonicalRoi(size=8)})
    assert other.digest != first.digest


def test_two_processes_prepare_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(in_memory, "CHUNK", 2)
    settings = PhantomSettings("dlr", subjects=4)
    looks = {"slices": AxialSlices.of_ct(32)}
    one, two = (prepare_phantom(settings, looks, processes=n) for n in (1, 2))
    assert one.inputs["slices"].tobytes() == two.inputs["slices"].tobytes()


def test_the_command_writes_a_cohort_and_says_what_is_wrong(tmp_path: Path) -> None:
    runner = CliRunner()
    asked = ["phantom", "ussl", "--out", str(tmp_path / "c"), "--subjects", "4", "--unlabelled", "noise=1", "--json"]
    done = runner.invoke(app, [*asked, "--label-model", "continuous"])
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert (answer["labelled"], answer["unlabelled"]) == (4, 1)
    assert answer["bayes_auc"]["pet+ct"] == pytest.approx(0.8956, abs=1e-3)
    assert runner.invoke(app, ["phantom", "nothing", "--out", str(tmp_path / "d")]).exit_code == 3
    assert runner.invoke(app, [*asked[:4], "--unlabelled", "noise"]).exit_code == 2
    assert runner.invoke(app, [*asked, "--seed", "3"]).exit_code == 3
