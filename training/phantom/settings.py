"""What a phantom cohort is made of: the preset and what is changed about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Literal, get_args

from pydantic import JsonValue

from inference.facts import Refused
from training.phantom.latents import Continuous, LabelModel
from training.phantom.presets import LABEL_MODELS, PRESETS, Preset

Size = Literal["reduced", "full"]
Kind = Literal["in-domain", "other-scanner", "other-tracer", "wrong-organ", "noise"]
KINDS: tuple[Kind, ...] = get_args(Kind)
EXTENT_MM = {
    ("lesion", "reduced"): 96.0,  # smaller lesions hide too much of the scores from any reader
    ("lesion", "full"): 128.0,
    ("iodine lesion", "reduced"): 96.0,  # the aorta must find room beside the tumour
    ("iodine lesion", "full"): 128.0,
    ("whole body", "reduced"): 512.0,
    ("whole body", "full"): 512.0,
}
WHOLE_BODY_VOXEL_MM = {"reduced": 8.0, "full": 4.0}
MOST_SUBJECTS = 100_000


def label_model_named(name: str | None) -> LabelModel | None:
    """The label model of this name; None for the preset's own.  Raises ``Refused`` ``phantom-setting``."""
    if name is not None and name not in LABEL_MODELS:
        raise Refused("phantom-setting", f"There is no label model {name!r}; name one of {', '.join(LABEL_MODELS)}.")
    return None if name is None else LABEL_MODELS[name]


@dataclass(frozen=True, slots=True)
class PhantomSettings:
    """One cohort; equal settings give equal subjects and voxels.

    ``subjects``: labelled ones, None for the preset's own number.  ``unlabelled``: kind → how many more without a
    label, None for the preset's own.  ``size``: "reduced" for quick runs (lesions of 8–19 mm radius, 8 mm voxels in
    the whole body), "full" as methods A0.  ``label_model``, ``prevalence``: instead of the preset's.  ``leak``: the
    centre follows the label, as a badly collected cohort's would.  ``flip_labels``: share of the training labels that
    are turned round; more flips contain the fewer.  ``image_outliers``: share of the training images that are spoilt.
    ``missing``: share of missing values in every informative column, None for the preset's own.

    Raises ``Refused`` ``phantom-setting`` where these make no cohort.
    """

    preset: str
    subjects: int | None = None
    seed: int = 0
    size: Size = "reduced"
    unlabelled: Mapping[str, int] | None = None
    label_model: LabelModel | None = None
    prevalence: float | None = None
    leak: bool = False
    flip_labels: float = 0.0
    image_outliers: float = 0.0
    missing: float | None = None

    def __post_init__(self) -> None:
        fault = self._fault()
        if fault:
            raise Refused("phantom-setting", fault)

    @property
    def of(self) -> Preset:
        """The preset with what is changed."""
        preset = PRESETS[self.preset]
        model = self.label_model or preset.label_model
        rate = self.prevalence or preset.prevalence
        return replace(preset, label_model=model, prevalence=0.5 if isinstance(model, Continuous) else rate)

    @property
    def count(self) -> int:
        """Labelled subjects."""
        return PRESETS[self.preset].subjects if self.subjects is None else self.subjects

    @property
    def more(self) -> dict[Kind, int]:
        """Unlabelled subjects of each kind."""
        asked = PRESETS[self.preset].unlabelled if self.unlabelled is None else self.unlabelled
        return {kind: asked[kind] for kind in KINDS if asked.get(kind)}

    @property
    def extent_mm(self) -> float:
        """Edge of what is rendered; of the whole body its length."""
        return EXTENT_MM[self.of.body, self.size]

    def as_json(self) -> dict[str, JsonValue]:
        """All that decides about voxels and table, defaults filled in."""
        model = asdict(self.of.label_model)
        return {
            "preset": self.preset,
            "subjects": self.count,
            "seed": self.seed,
            "size": self.size,
            "unlabelled": {str(kind): count for kind, count in self.more.items()},
            "label_model": {name: list(v) if isinstance(v, tuple) else v for name, v in model.items()},
            "prevalence": self.of.prevalence,
            "leak": self.leak,
            "flip_labels": self.flip_labels,
            "image_outliers": self.image_outliers,
            "missing": self.missing,
        }

    def _fault(self) -> str:
        if self.preset not in PRESETS:
            return f"There is no phantom {self.preset!r}; name one of {', '.join(PRESETS)}."
        preset = PRESETS[self.preset]
        wanted = set(preset.label_model.sources)
        if self.label_model is not None and set(self.label_model.sources) != wanted:
            return f"This label model does not fit {self.preset}, whose sources are {', '.join(sorted(wanted))}."
        if not 1 <= self.count <= MOST_SUBJECTS or self.seed < 0:
            return f"A cohort has 1 to {MOST_SUBJECTS} subjects and a seed that is not negative."
        if self.size not in get_args(Size):
            return f"There is no size {self.size!r}; use reduced or full."
        for name, value, top in (
            ("prevalence", self.prevalence, 1.0),
            ("flip_labels", self.flip_labels, 0.5),
            ("image_outliers", self.image_outliers, 1.0),
            ("missing", self.missing, 1.0),
        ):
            if value is not None and not 0.0 <= value <= top:
                return f"{name} is a share from 0 to {top:g}."
        if self.prevalence in (0.0, 1.0):
            return "prevalence must leave both labels possible."
        if self.leak and not any(len(part.centres) > 1 for part in preset.parts):
            return f"{self.preset} has one centre a part, so the centre cannot follow the label."
        return self._fault_of_unlabelled(preset)

    def _fault_of_unlabelled(self, preset: Preset) -> str:
        for kind, number in (self.unlabelled or {}).items():
            if kind not in KINDS:
                return f"There are no unlabelled subjects of kind {kind!r}; use {', '.join(KINDS)}."
            if not 0 <= number <= MOST_SUBJECTS:
                return f"The number of unlabelled subjects lies between 0 and {MOST_SUBJECTS}."
            if number and kind == "other-tracer" and preset.images != "PET/CT":
                return f"{self.preset} has no PET, so no other tracer."
            if number and preset.body == "whole body" and kind not in ("in-domain", "other-scanner"):
                return f"{self.preset} has unlabelled subjects of the kinds in-domain and other-scanner only."
        return ""
