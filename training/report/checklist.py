"""The TRIPOD+AI and CLAIM headings, filled from a run as far as it knows, "NOT PROVIDED" where nobody told."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from training.record import HEATMAP_CHECKS, RunRecord

HEADINGS = Path(__file__).with_name("checklist.toml")
BY_PERSON = "checklist.toml"
NOT_PROVIDED = "NOT PROVIDED"
LARGEST_BYTES = 1024**2


@dataclass(frozen=True, slots=True)
class Item:
    """``text``: what is known, or NOT PROVIDED."""

    heading: str
    text: str

    @property
    def provided(self) -> bool:
        return self.text != NOT_PROVIDED


def checklist(known: Mapping[str, str]) -> dict[str, list[Item]]:
    """Items by part; ``known``: key → text."""
    parts = tomllib.loads(HEADINGS.read_text())["part"]
    return {part["name"]: [Item(text, known.get(key) or NOT_PROVIDED) for key, text in part["items"]] for part in parts}


def known_of(record: RunRecord, folder: Path, tested: Mapping[str, str]) -> dict[str, str]:
    """What the run knows, ``tested`` (from its results), and what a person wrote into its ``checklist.toml``."""
    versions = ", ".join(f"{name} {version}" for name, version in record.versions.items())
    found = {
        "title": record.title,
        "preprocessing": f"settings below; {versions}" if versions else "settings below",
        "hardware": f"{record.machine}; seed {record.seed}" if record.machine else "",
        "flow": "below",
        "discrimination": "above",
        "inputs_needed": "stated in the bundle's metadata.json and model card; the node abstains with a reason",
        "model_access": f"bundle {record.bundle_digest[:12]}" if record.bundle_digest else "",
        "explainability": _heatmaps(record),
        **(_of_training(record) if record.folds else _OF_EVALUATION),
        **tested,
    }
    return {key: text for key, text in (found | _by_person(folder)).items() if text}


def _of_training(record: RunRecord) -> dict[str, str]:
    without = f"{record.unlabelled} studies without a label took part in training only"
    return {
        "partitions": f"{record.repeats} × {record.folds}-fold cross-validation, disjoint by patient (splits.json of "
        f"the run); seed {record.seed}",
        "unlabelled": without if record.unlabelled else "none",
        "hyperparameters": f"settings below (digest {record.settings_digest[:12]}); search space and number of trials: "
        f"{NOT_PROVIDED}",
        "threshold": "probability; threshold fixed on the validation rows of each fold, before its test rows were seen",
        "internal_testing": "cross-validation, above",
    }


_OF_EVALUATION = {
    "partitions": "a finished model (its digest stands below), tested on this cohort alone",
    "unlabelled": "none was used",
    "threshold": "probability; threshold of the bundle",
    "updating": "the calibration intercept above is what a recalibration for this site adds to the logit; it takes "
    "50 labelled studies, and makes a new version of the model",
}


def _heatmaps(record: RunRecord) -> str:
    told = record.facts.get(HEATMAP_CHECKS)
    if not isinstance(told, dict):
        return ""
    failures = told.get("failures") or []
    verdict = f"failed: {'; '.join(map(str, failures))}" if isinstance(failures, list) and failures else "all passed"
    return f"Grad-CAM; sanity checks {verdict} (numbers under Details)"


def _by_person(folder: Path) -> dict[str, str]:
    """Raises ``Refused`` ``checklist-unreadable``."""
    from inference.facts import Refused

    file = folder / BY_PERSON
    if not file.is_file():
        return {}
    try:
        if file.stat().st_size > LARGEST_BYTES:
            raise ValueError("it is larger than 1 MiB")
        told = tomllib.loads(file.read_text())
        if not all(isinstance(text, str) for text in told.values()):
            raise ValueError('each line must read key = "text"')
    except (ValueError, UnicodeDecodeError) as fault:
        raise Refused("checklist-unreadable", f"{BY_PERSON} of the run cannot be read: {fault}. Mend it.") from None
    return dict(told)
