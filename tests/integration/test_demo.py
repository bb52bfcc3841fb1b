"""The main job as a user runs it: `petct-node demo`, with a real Orthanc and a real node."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import psutil
import pydicom
import pytest
from PIL import Image

from dicom_node.demo.orthanc_process import PrivateOrthanc
from inference.facts import Refused
from training.phantom.study import write_phantom_study

pytestmark = [pytest.mark.peers, pytest.mark.slow]

COMMAND = [str(Path(sys.executable).with_name("petct-node")), "demo"]
FIVE = {"sr", "sr_viewer", "seg", "key_image", "heatmap"}


def demo(*options: str, **environment: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
    """Run it with --json; what it printed for people is in ``stderr``."""
    ran = subprocess.run(
        [*COMMAND, "--json", *options],
        capture_output=True,
        text=True,
        timeout=280,
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        check=False,
    )
    return ran, json.loads(ran.stdout)


def nothing_runs_in(folder: Path) -> bool:
    """No process is left that was started with a file of this folder."""
    return not any(str(folder) in " ".join(p.info["cmdline"] or ()) for p in psutil.process_iter(["cmdline"]))


def test_a_phantom_goes_in_and_five_objects_come_out(tmp_path: Path) -> None:
    # settings of another node must not reach this one
    ran, answer = demo("--out", str(tmp_path), PETCT_NODE__NODE__DATA_DIR=str(tmp_path / "foreign"))
    assert ran.returncode == 0, ran.stderr
    assert answer["status"] == "done"
    assert {result["kind"] for result in answer["results"]} == FIVE
    assert not (tmp_path / "foreign").exists()
    assert nothing_runs_in(tmp_path)

    truth = json.loads((tmp_path / "study" / "truth.json").read_text())
    assert answer["study_instance_uid"] == truth["study_instance_uid"]
    report = next(result for result in answer["results"] if result["kind"] == "sr")
    assert report["prediction"]["status"] in ("reported", "indeterminate")
    assert any("demonstration" in result["model_statement"] for result in answer["results"])
    # every planted lesion was found, with the maximum that was planted, and nothing else
    found = sorted(lesion["measures"]["suv_max"] for lesion in report["lesions"] if "volume_ml" in lesion["measures"])
    assert found == pytest.approx(sorted(lesion["suv_max"] for lesion in truth["lesions"]), abs=0.005)

    heatmap = pydicom.dcmread(tmp_path / "results" / "heatmap.dcm", stop_before_pixels=True)
    assert 60 <= heatmap.NumberOfFrames < 90, "OHIF takes 90 frames or more for a video"
    picture = np.asarray(Image.open(answer["key_image"]))
    assert np.array_equal(picture, pydicom.dcmread(tmp_path / "results" / "key_image.dcm").pixel_array)
    for stage in ("send", "last slice → complete", "analysis and report", "deliver", "last slice → confirmed"):
        assert 0 <= answer["seconds"][stage] < 200
    readme = (Path(__file__).parents[2] / "README.md").read_text()
    excerpt = readme.partition("```text\n")[2].partition("```")[0]
    assert excerpt.count("Lesion") == 3
    assert [line for line in excerpt.splitlines() if line not in ran.stderr] == []
    for said in ("Predicted probability", "Research use only", "key image", "Orthanc"):
        assert said in ran.stderr


@pytest.mark.data
def test_a_real_patient_with_a_contour(shared_data: Path, tmp_path: Path) -> None:
    source = shared_data / "study_sts_001"
    study = tmp_path / "study"
    for name in ("ct", "pet_bqml"):
        shutil.copytree(source / name, study / name)
    shutil.copy(source / "rtstruct_ct.dcm", study)
    ran, answer = demo("--study", str(study), "--out", str(tmp_path / "run"))
    assert ran.returncode == 0, ran.stderr
    assert {result["kind"] for result in answer["results"]} == FIVE
    report = next(result for result in answer["results"] if result["kind"] == "sr")
    assert report["prediction"]["applicability"] == "outside"
    expected = json.loads((source / "expected.json").read_text())["rois"]["rtstruct_ct"]
    lesion = report["lesions"][0]
    assert lesion["source"] == "RTSTRUCT"
    # the report prints two or three decimals; the exact values are tested where they are computed
    assert lesion["measures"]["suv_max"] == pytest.approx(expected["suvmax"], abs=0.005)
    assert lesion["measures"]["suv_mean"] == pytest.approx(expected["suvmean"], abs=0.005)
    assert lesion["measures"]["volume_ml"] == pytest.approx(expected["volume_pet_grid_ml"], rel=0.005)
    assert nothing_runs_in(tmp_path / "run")


def test_a_study_that_has_no_suv_ends_with_the_reason_and_exit_3(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_phantom_study(study)
    for path in (study / "PET").iterdir():
        ds = pydicom.dcmread(path)
        del ds.PatientWeight
        ds.save_as(path)
    ran, answer = demo("--study", str(study), "--out", str(tmp_path / "run"))
    assert ran.returncode == 3, ran.stderr
    assert answer["status"] == "refused"
    assert "weight" in answer["reason"].lower()
    assert {result["kind"] for result in answer["results"]} == {"sr", "key_image"}
    assert "Traceback" not in ran.stderr


def test_folders_that_are_no_study(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    ran, answer = demo("--study", str(tmp_path / "empty"), "--out", str(tmp_path / "run"))
    assert (ran.returncode, answer["reason_code"]) == (3, "nothing-to-send")
    two = tmp_path / "two"
    for seed in (1, 2):
        write_phantom_study(tmp_path / "study", seed=seed)
        (two / str(seed)).mkdir(parents=True)
        shutil.copy(tmp_path / "study" / "CT" / "CT0001.dcm", two / str(seed))
    ran, answer = demo("--study", str(two), "--out", str(tmp_path / "run2"))
    assert (ran.returncode, answer["reason_code"]) == (3, "several-studies")


def test_without_orthanc_it_says_what_to_install(tmp_path: Path) -> None:
    ran, answer = demo("--out", str(tmp_path), ORTHANC="/nowhere/Orthanc")
    assert (ran.returncode, answer["reason_code"]) == (3, "orthanc-not-installed")
    assert "apt-get install orthanc" in answer["reason"]


def test_keep_runs_until_it_is_ended_and_leaves_nothing(tmp_path: Path) -> None:
    study = tmp_path / "study"
    write_phantom_study(study)
    log = (tmp_path / "out.txt").open("w")
    command = [*COMMAND, "--keep", "--study", str(study), "--out", str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        deadline = time.monotonic() + 240
        while "Ctrl-C" not in (tmp_path / "out.txt").read_text():
            assert time.monotonic() < deadline, (tmp_path / "out.txt").read_text()
            assert process.poll() is None, (tmp_path / "out.txt").read_text()
            time.sleep(0.2)
        port = json.loads((tmp_path / "run" / "orthanc" / "orthanc.json").read_text())["HttpPort"]
        kept = httpx.get(f"http://127.0.0.1:{port}/statistics", timeout=10).json()
        assert kept["CountInstances"] == 185, "the images beside the five results, as in an archive"
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    log.close()
    assert nothing_runs_in(tmp_path / "run")


def test_an_orthanc_of_ones_own_keeps_its_store_over_a_restart(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study")
    with PrivateOrthanc(tmp_path / "orthanc") as orthanc:
        image = (tmp_path / "study" / "CT" / "CT0001.dcm").read_bytes()
        httpx.post(f"{orthanc.http_url}/instances", content=image, timeout=10).raise_for_status()
        before = orthanc.http_url
        orthanc.stop()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{before}/system", timeout=2)
        orthanc.start()
        assert orthanc.http_url == before
        assert len(httpx.get(f"{orthanc.http_url}/instances", timeout=10).json()) == 1
        assert httpx.get(f"{orthanc.dicomweb_url}/studies", timeout=10).status_code == 200
    assert nothing_runs_in(tmp_path / "orthanc")


def test_an_orthanc_that_does_not_start_is_told_with_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORTHANC", "/bin/false")
    with pytest.raises(Refused, match=r"orthanc\.log") as refused, PrivateOrthanc(tmp_path):
        pass
    assert refused.value.code == "orthanc-not-started"


def test_a_node_that_dies_for_good_ends_in_exit_4_naming_its_log(tmp_path: Path) -> None:
    command = [*COMMAND, "--json", "--out", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("sent 180 files"):
                break
        os.kill(json.loads((tmp_path / "node" / "data" / "node.json").read_text())["pid"], signal.SIGKILL)
        printed, said = process.communicate(timeout=120)
    answer = json.loads(printed)
    assert (process.returncode, answer["status"], answer["reason_code"]) == (4, "failed", "no-answer"), said
    assert "node.log" in answer["reason"]
    assert "Traceback" not in said


def test_a_study_without_a_pet_is_refused_soon(tmp_path: Path) -> None:
    write_phantom_study(tmp_path / "study")
    shutil.rmtree(tmp_path / "study" / "PET")
    began = time.monotonic()
    ran, answer = demo("--study", str(tmp_path / "study"), "--out", str(tmp_path / "run"))
    assert (ran.returncode, answer["status"], answer["reason_code"]) == (3, "refused", "no-pet"), ran.stderr
    assert time.monotonic() - began < 120, "nobody waits ten minutes for a slice that will not come"


def test_a_run_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran, answer = demo("--out", str(tmp_path / "file"))
    assert (ran.returncode, answer["reason_code"]) == (3, "out-not-writable")
    assert "Traceback" not in ran.stderr
