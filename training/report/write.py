"""``report.html``, one file that needs nothing else, and ``report.json`` with every number, from the files of a run."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from training.evaluate.baseline import Baseline, baseline
from training.evaluate.bootstrap import DRAWS
from training.evaluate.estimate import Difference, Estimate
from training.prepared import Prepared
from training.record import RunRecord, read_predictions, read_record
from training.report import figures
from training.report.checklist import NOT_PROVIDED, checklist, known_of
from training.report.findings import IN_WORDS, Findings, Groups, findings

HTML_FILE, JSON_FILE = "report.html", "report.json"
TEMPLATE = "page.html.j2"


def write_report(run_folder: Path, *, cohort: Prepared | None = None, draws: int = DRAWS) -> Path:
    """Write both files and give the page's path.  The same run gives the same bytes.

    ``cohort``: for the table of the subjects and the subgroups beside the centres.  ``draws``: of the bootstraps.  A
    ``checklist.toml`` in the folder (key = "text", keys as in ``training/report/checklist.toml``) fills what no run can
    know.  Raises ``FileNotFoundError``; ``Refused`` ``report-nothing-tested``, ``checklist-unreadable``,
    ``tracking-failed``.
    """
    record = read_record(run_folder)
    groups = (
        {name: dict(zip(cohort.studies, texts, strict=True)) for name, texts in cohort.groups.items()} if cohort else {}
    )
    found = findings(record, read_predictions(run_folder), groups, draws)
    subjects = baseline(cohort) if cohort else None
    items = checklist(known_of(record, run_folder, _known_of_results(found, subjects)))
    told = {"run": record.model_dump(mode="json"), "findings": plain(found), "subjects": plain(subjects)}
    (run_folder / JSON_FILE).write_text(json.dumps(told, indent=1, allow_nan=False) + "\n")
    page = run_folder / HTML_FILE
    page.write_text(
        _template().render(
            record=record,
            found=found,
            subjects=subjects,
            pictures=_pictures(found),
            checklist=items,
            not_provided=sum(not item.provided for part in items.values() for item in part),
            NOT_PROVIDED=NOT_PROVIDED,
            words=IN_WORDS,
        )
    )
    _tracked(run_folder, record, found)
    return page


def plain(value: Any) -> Any:
    """As JSON takes it; NaN and infinity become null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _groups(cohort: Prepared | None) -> Groups:
    if cohort is None:
        return {}
    return {name: dict(zip(cohort.studies, texts, strict=True)) for name, texts in cohort.groups.items()}


def _tracked(run_folder: Path, record: RunRecord, found: Findings) -> None:
    from training.report.tracking import track

    track(run_folder, record, found)


def _known_of_results(found: Findings, subjects: Baseline | None) -> dict[str, str]:
    """What the checklist can say of the results."""
    external = next((one for one in found.performances if one.part == "external"), None)
    missing = {} if subjects is None else subjects.missing_percent
    return {
        "demographics": "above, by label and set, with standardised differences" if missing else "",
        "missing": "; ".join(f"{name} {percent:.0f} %" for name, percent in missing.items()),
        "external_testing": f"{external.studies} studies, above" if external else "",
        "subgroups": f"per {', '.join(found.groups)}, below" if found.groups else "",
        "fairness": f"groups compared: {', '.join(name for name in found.groups if name != 'centre')}"
        if set(found.groups) - {"centre"}
        else "",
        "uncertainty": "class-conditional conformal sets, below" if found.coverage else "",
        "sample_size": "expected precision below; reasoning before the study: " + NOT_PROVIDED,
    }


def _pictures(found: Findings) -> dict[str, Any]:
    """Name → data URI (or a list of (title, data URI))."""
    primary = found.primary
    first = primary[0]
    aucs = {one.variant: f"AUC {one.auc.value:.3f}" for one in primary}
    precisions = {one.variant: f"AP {one.average_precision.value:.3f}" for one in primary}
    return {
        "roc": figures.roc_figure({name: one["roc"] for name, one in found.curves.items()}, aucs, found.kind),
        "precision_recall": figures.precision_recall_figure(
            {name: one["precision_recall"] for name, one in found.curves.items()}, precisions, first.prevalence
        ),
        "calibration": figures.calibration_figure(first.variant, first.curve),
        "decision": figures.decision_figure({one.variant: one.decision for one in primary}),
        "forest": figures.forest_figure(found.groups),
        "differences": figures.differences_figure(found.comparisons) if found.comparisons else "",
        "permutation": [(name, figures.permutation_figure(one)) for name, one in found.chance.items()],
        "survival": [
            (one.variant, figures.survival_figure(one.low_risk, one.high_risk, f"log-rank p = {_p(one.logrank.p)}"))
            for one in found.survival[:1]
        ],
    }


def _template() -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"interval": _interval, "number": _number, "p": _p, "tidy": _tidy, "short": _short}
    return environment.get_template(TEMPLATE)


def _interval(value: Estimate | Difference, digits: int = 3) -> str:
    if not math.isfinite(value.value):
        return "–"
    if not math.isfinite(value.low) or not math.isfinite(value.high):
        return f"{value.value:.{digits}f}"
    joint = " to " if value.low < 0 else "–"
    return f"{value.value:.{digits}f} ({value.low:.{digits}f}{joint}{value.high:.{digits}f})".replace("-", "−")


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}".replace("-", "−")


def _short(value: float) -> str:
    """Three digits, as a table of subjects needs them."""
    return f"{value:.3g}".replace("-", "−") if math.isfinite(value) else "–"


def _p(value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _tidy(value: Any) -> str:
    """A setting or fact, for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str | int):
        return str(value) or "–"
    if isinstance(value, list) and all(isinstance(one, str | int | float) for one in value):
        return ", ".join(map(_tidy, value))
    return json.dumps(plain(value), ensure_ascii=False, indent=1)
