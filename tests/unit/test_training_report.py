"""The report of a run: one file that needs nothing else, every number in JSON, and nothing that flatters."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from inference.facts import Refused
from tests.report_page import Page
from tests.simulated_run import simulated_run
from training.evaluate.answers import answers_of
from training.evaluate.baseline import standardised_difference
from training.prepared import Prepared
from training.record import Said, read_predictions, read_record, write_record
from training.report.checklist import NOT_PROVIDED, checklist
from training.report.figures import STYLE
from training.report.findings import findings
from training.report.numbers import chance, comparisons, cross_conformal
from training.report.published import beside_published, optima
from training.report.survival_page import survival_numbers
from training.report.write import write_report

DRAWS = 40
FEW = ("CPC", "P")


def cohort() -> Prepared:
    """The table of the simulated run: age, smoking with holes, sex as a subgroup."""
    return Prepared(
        patients=tuple(f"p{i:03d}" for i in range(180)),
        studies=tuple(f"p{i:03d}-1" for i in range(180)),
        centres=("A",) * 180,
        labels=np.array([i % 3 == 0 for i in range(180)], np.int8),
        inputs={},
        values={
            "age": tuple(60.0 + (i % 3 == 0) * 5 + i % 7 for i in range(180)),
            "smoking": tuple(None if i % 10 == 0 else ("yes" if i % 2 else "no") for i in range(180)),
        },
        groups={"sex": tuple("FM"[i % 2] for i in range(180))},
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything: repeats, external studies, permuted labels, survival, a truth file."""
    folder = tmp_path_factory.mktemp("run")
    simulated_run(folder, permutations=12, external=40, survival=True, variants=FEW)
    write_report(folder, draws=DRAWS, cohort=cohort())
    return folder


def test_the_page_needs_nothing_else_and_says_what_it_is(whole: Path) -> None:
    html = (whole / "report.html").read_text()
    page = Page(html)
    assert page.fetched == []
    assert page.pictures == 8  # ROC, PR, calibration, decision, differences, permutation, groups, survival
    text = " ".join(page.text)
    assert "Research use only" in text
    assert "nothing here speaks about patients" in text
    assert "reconstruction" in text
    assert NOT_PROVIDED in text
    assert "the CT folder holds no image" in text  # a study that was left out
    assert "external test" in text
    for section in ("results", "curves", "compare", "groups", "survival", "precision", "flow", "checklist", "run"):
        assert f'id="{section}"' in html


def test_json_holds_the_numbers_and_they_are_right(whole: Path) -> None:
    told = json.loads((whole / "report.json").read_text())
    rows = [row for row in read_predictions(whole) if row.variant == "CPC" and row.scheme == "cv"]
    by_hand = [
        roc_auc_score([r.label for r in rows if r.repeat == k], [r.probability for r in rows if r.repeat == k])
        for k in (0, 1)
    ]
    first = told["findings"]["performances"][0]
    assert first["variant"] == "CPC"
    assert first["auc"]["value"] == pytest.approx(np.mean(by_hand))
    assert first["sd_of_repeats"] == pytest.approx(np.std(by_hand, ddof=1))
    called = [(r.probability >= r.threshold, r.label) for r in rows if r.repeat == 0]
    sensitivity = np.mean([c for c, label in called if label])
    assert first["point"]["sensitivity"]["value"] == pytest.approx(sensitivity)
    assert told["run"]["cohort_digest"] == "c" * 64
    assert "NaN" not in (whole / "report.json").read_text()
    assert {one["part"] for one in told["findings"]["performances"]} == {"test", "external", "train"}
    assert set(told["findings"]["groups"]) == {"centre", "sex"}


def test_the_table_of_the_subjects(whole: Path) -> None:
    told = json.loads((whole / "report.json").read_text())["subjects"]
    assert told["parts"] == [["positive", 60], ["negative", 120]]
    rows = {row["name"]: row for row in told["rows"]}
    assert set(rows) == {"age", "smoking: no", "smoking: yes", "sex: F", "sex: M"}
    assert rows["age"]["by_label"] == pytest.approx(5 / 2, rel=0.1)  # 5 years, standard deviation 2
    assert rows["age"]["external"] is None
    assert rows["smoking: yes"]["cells"][0]["missing"] == 6
    assert told["missing_percent"]["smoking"] == pytest.approx(10.0)
    text = " ".join(Page((whole / "report.html").read_text()).text)
    assert "smoking 10 %" in text


def test_standardised_difference_of_proportions() -> None:
    one, other = np.array([1.0] * 60 + [0.0] * 40), np.array([1.0] * 40 + [0.0] * 60)
    assert standardised_difference(one, other) == pytest.approx(0.2 / np.sqrt(0.24))
    assert standardised_difference(one, one[:0]) is None
    assert standardised_difference(np.ones(3), np.ones(3)) is None


def test_the_same_run_gives_the_same_bytes(tmp_path: Path) -> None:
    pages = []
    for name in ("one", "two"):
        simulated_run(tmp_path / name, variants=FEW, studies=60, repeats=1)
        pages.append(write_report(tmp_path / name, draws=10).read_bytes())
    assert pages[0] == pages[1]


def test_a_pretrained_branch_is_no_training_result(tmp_path: Path) -> None:
    """What stands beside the paper's figure is out of fold, never what the model remembers."""
    record = simulated_run(tmp_path, variants=FEW, studies=90, repeats=1)
    rows = read_predictions(tmp_path)
    learnt = [row.model_copy(update={"scheme": "final", "part": "train", "probability": 0.5}) for row in rows]
    found = findings(record, [*rows, *learnt], {}, 10)
    kinds = [("CPC", "AUROC (pretrained CT branch)", "0.72"), ("CPC", "AUC, training", "0.93")]
    out_of_fold, training = beside_published(kinds, found.performances, phantom=True)
    assert training.ours.startswith("0.500")
    assert not out_of_fold.ours.startswith("0.500")


def test_few_studies_do_not_tell_whether_the_optimum_was_reached(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=60, repeats=1)
    text = " ".join(Page(write_report(tmp_path, draws=10).read_text()).text)
    assert "too few studies for a gap of 0.03" in text
    assert "within 0.03 of the optimum" not in text


def test_it_says_that_regions_are_proposals_and_who_was_lost(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=60, repeats=1)
    record = read_record(tmp_path)
    record.cautions = (
        Said(code="region-automatic", text="a proposal that needs confirmation", studies=12),
        Said(code="ct-cropped", text="the CT is narrow", studies=5),
    )
    write_record(tmp_path, record)
    page = write_report(tmp_path, draws=10).read_text()
    text = " ".join(Page(page).text)
    assert "12 studies: a proposal that needs confirmation" in text
    assert "the CT is narrow" in text
    assert "the CT is narrow" not in page[: page.index('id="results"')]  # only what changes the figures stands on top


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=60, repeats=1)
    record = read_record(tmp_path)
    record.left_out = {"<script>alert(1)</script>": "<img src=x onerror=alert(1)>"}
    record.cohort = "{{ 7*7 }}<b>"
    write_record(tmp_path, record)
    page = Page(write_report(tmp_path, draws=10).read_text())
    assert page.fetched == []
    assert "<script>alert(1)</script>" in page.text
    assert any("{{ 7*7 }}<b>" in text for text in page.text)


def test_a_person_fills_the_checklist(tmp_path: Path) -> None:
    simulated_run(tmp_path, variants=FEW, studies=60, repeats=1)
    (tmp_path / "checklist.toml").write_text('ethics = "Approved by <committee>, no. 7"\n')
    text = " ".join(Page(write_report(tmp_path, draws=10).read_text()).text)
    assert "Approved by <committee>, no. 7" in text
    (tmp_path / "checklist.toml").write_text("ethics = 7\n")
    with pytest.raises(Refused, match=r"checklist\.toml"):
        write_report(tmp_path, draws=10)


def test_checklist_headings_are_all_there() -> None:
    items = checklist({"aim": "to test"})
    told = [item for part in items.values() for item in part]
    assert len(told) > 40
    assert sum(item.provided for item in told) == 1


def test_permuted_labels_and_p(whole: Path) -> None:
    rows = read_predictions(whole)
    of = answers_of(rows, "CPC", "cv", "test")
    assert of is not None
    found = chance(rows, of)
    assert found is not None
    assert len(found.permuted) == 12
    assert found.mean == pytest.approx(0.5, abs=0.05)
    assert found.p == pytest.approx(1 / 13)
    other = answers_of(rows, "P", "cv", "test")
    assert other is not None
    assert chance(rows, other) is None  # it was not run with permuted labels


def test_differences_are_paired_over_the_same_studies(whole: Path) -> None:
    rows = read_predictions(whole)
    both = [answers_of(rows, name, "cv", "test") for name in FEW]
    (found,) = comparisons([one for one in both if one is not None])
    assert found.delong.value > 0.03
    assert found.folds is not None
    assert found.folds.high - found.folds.low > found.delong.high - found.delong.low  # folds share training subjects
    fewer = [row for row in rows if not (row.variant == "P" and row.patient == "p000")]
    both = [answers_of(fewer, name, "cv", "test") for name in FEW]
    assert comparisons([one for one in both if one is not None]) == []


def test_bayes_optimum_and_published_values(tmp_path: Path) -> None:
    assert optima({}, [], {}) == []
    record = simulated_run(tmp_path, variants=FEW, repeats=1)
    found = findings(record, read_predictions(tmp_path), {}, 10)
    truth = {"bayes_auc": {"pet": 0.78, "pet+ct+clinical": 0.99}, "bayes_auc_as_given": {"pet+ct+clinical": 0.6}}
    cpc, p = optima(truth, found.primary, {"CPC": "clinical+ct+pet", "P": "pet"})
    assert (cpc.bayes_auc, cpc.suspicious) == (0.6, True)  # what can be reached from a table with holes
    assert "missing" in cpc.sources
    assert p.bayes_auc == 0.78
    assert optima(truth, found.primary, {"P": "iodine"}) == []
    published = (("cpc", "AUC, internal validation", "0.882"), ("CPC", "sensitivity", "0.8"), ("X", "AUC", "0.9"))
    ours, none, other = beside_published(published, found.performances, phantom=True)
    assert "not comparable: phantoms" in ours.verdict
    assert f"n = {found.primary[0].studies}" in ours.ours
    assert (none.ours, other.ours) == ("", "")


def test_survival_takes_its_cut_from_other_folds(whole: Path) -> None:
    of = answers_of(read_predictions(whole), "CPC", "cv", "test", labelled=False)
    assert of is not None
    found = survival_numbers(of, DRAWS)
    assert found is not None
    assert found.cox is not None
    assert found.cox.hazard_ratio.value > 1.2
    assert found.low_risk.subjects + found.high_risk.subjects == 180
    assert found.integrated_brier is not None
    assert found.reference_brier is not None
    assert found.integrated_brier < found.reference_brier
    assert found.corrected_p >= found.searched_p
    assert survival_numbers(of.only([i < 8 for i in range(180)]), DRAWS) is None  # fewer than ten events


def test_conformal_sets_of_folds_hold_the_label(whole: Path) -> None:
    of = answers_of(read_predictions(whole), "CPC", "cv", "test")
    assert of is not None
    found = cross_conformal(of)
    assert found is not None
    assert 0.85 < found.overall < 0.96
    assert sum(found.sizes) == 180


def test_pictures_have_units_and_readable_letters(whole: Path) -> None:
    html = (whole / "report.html").read_text()
    svgs = [base64.b64decode(one).decode() for one in re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", html)]
    assert len(svgs) == 8
    assert any("<!-- Months -->" in svg for svg in svgs)
    assert all("<!--" in svg for svg in svgs)
    sizes = [value for name, value in STYLE.items() if name.endswith(("size", "labelsize", "fontsize"))]
    assert min(sizes) >= 8
