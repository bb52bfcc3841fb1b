"""The five phantom cohorts (methods A1–A5): how many subjects, which label model, which centres, which values.

Sizes, prevalences and centres are the papers' where known, else defaults of methods A1–A5.  What a phantom shows says
nothing about patients.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from inference.model.served import Images
from training.phantom.latents import Clustered, Continuous, GaussianSources, LabelModel, Suppressor, Survival

Body = Literal["lesion", "iodine lesion", "whole body"]
PresetName = Literal["ussl", "dlr", "cpc", "dfsigm", "prrt_pfs"]
Outcome = Literal["none", "treated", "progression"]


@dataclass(frozen=True, slots=True)
class Number:
    """A column of numbers: ``middle`` + ``width`` × x, or ``middle`` × exp(``width`` × x) with ``log``.

    x is standard normal; ``share``: how much of the clinical score lies in it (the squares of all shares of a preset
    add up to 1, 0 is a distractor).  ``of_lesion``: x is no chance but the lesion's size: its diameter, with an error
    of ``width`` × a normal number.  ``missing``: share of the rows without it, at random.  ``digits``: rounded to.
    """

    name: str
    title: str
    unit: str
    middle: float
    width: float
    share: float = 0.0
    log: bool = False
    missing: float = 0.0
    digits: int = 3
    of_lesion: bool = False


@dataclass(frozen=True, slots=True)
class Levels:
    """A column of texts that carries nothing: ``odds`` of each of ``levels``."""

    name: str
    title: str
    levels: tuple[str, ...]
    odds: tuple[float, ...]
    missing: float = 0.0


Column = Number | Levels


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the cohort: its name in the column ``set``, its share of the subjects, and their centres (1–4)."""

    name: Literal["train", "internal", "external"]
    share: float
    centres: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Preset:
    """One cohort.

    ``images``: as ``inference.model.served.Served``.  ``subjects``: labelled ones.  ``unlabelled``: kind → how many
    more without a label, by default.  ``outcome``: "treated", a part of the subjects is followed (``survival``);
    "progression", the label is an event within 12 months.  ``followed``: share of the subjects with months and event.
    """

    name: PresetName
    title: str
    images: Images
    body: Body
    label_model: LabelModel
    prevalence: float
    subjects: int
    parts: tuple[Part, ...]
    columns: tuple[Column, ...]
    unlabelled: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    outcome: Outcome = "none"
    followed: float = 0.0
    survival: Survival = field(default_factory=Survival)

    @property
    def informative(self) -> tuple[Number, ...]:
        """The columns that hold the clinical score."""
        return tuple(column for column in self.columns if isinstance(column, Number) and column.share)


SEX = Levels("sex", "Sex", ("F", "M"), (0.4, 0.6))
STAGE = Levels("stage", "Stage", ("I", "II", "III", "IV"), (0.2, 0.2, 0.3, 0.3))
MISSING_LAB = 0.05  # [R] of a laboratory value

USSL = Preset(
    name="ussl",
    title="FDG PET/CT of lung cancer, PD-L1 (methods A1)",
    images="PET/CT",
    body="lesion",
    label_model=Clustered(delta=4.0, epsilon=0.1),
    prevalence=0.45,
    subjects=400,
    parts=(Part("train", 0.75, (1, 2, 3)), Part("external", 0.25, (4,))),
    columns=(Number("age", "Age", "a", 65.0, 9.0, digits=1), SEX),
    unlabelled=MappingProxyType({"in-domain": 1200}),
)

DLR = Preset(
    name="dlr",
    title="CT of lung cancer, PD-L1 (methods A2)",
    images="CT",
    body="lesion",
    label_model=GaussianSources({"ct": 1.466, "clinical": 0.954}),
    prevalence=0.483,
    subjects=352,
    parts=(Part("train", 1.0, (1, 2)),),
    columns=(
        Number("age", "Age", "a", 64.0, 9.0, share=0.48, digits=1),
        SEX,
        Levels("smoking", "Smoking", ("never", "former", "current"), (0.2, 0.45, 0.35)),
        Number("pack_years", "Pack years", "{pack_years}", 25.0, 0.5, share=0.6, log=True),
        Levels("histology", "Histology", ("adenocarcinoma", "squamous", "other"), (0.6, 0.3, 0.1)),
        STAGE,
        Number("tumour_size", "Tumour size", "mm", 0.0, 0.05, digits=1, of_lesion=True),
        Number("cea", "Carcinoembryonic antigen", "ng/ml", 5.0, 0.9, share=0.64, log=True, missing=MISSING_LAB),
    ),
)

CPC = Preset(
    name="cpc",
    title="FDG PET/CT of oesophageal cancer, PD-L1 and survival (methods A3)",
    images="PET/CT",
    body="lesion",
    label_model=GaussianSources({"pet": 1.092, "ct": 0.742, "clinical": 0.358}),
    prevalence=0.40,
    subjects=331,
    parts=(Part("train", 180 / 331, (1,)), Part("internal", 77 / 331, (1,)), Part("external", 74 / 331, (2,))),
    columns=(
        Number("age", "Age", "a", 63.0, 8.0, share=0.6, digits=1),
        SEX,
        Levels("t_stage", "T stage", ("T1", "T2", "T3", "T4"), (0.1, 0.2, 0.5, 0.2)),
        Levels("n_stage", "N stage", ("N0", "N1", "N2", "N3"), (0.3, 0.35, 0.25, 0.1)),
        Levels("m_stage", "M stage", ("M0", "M1"), (0.85, 0.15)),
        Number("length_mm", "Length at endoscopy", "mm", 45.0, 0.35, share=0.8, log=True),
        Levels("location", "Location", ("upper", "middle", "lower"), (0.2, 0.5, 0.3)),
        Levels("differentiation", "Differentiation", ("good", "moderate", "poor"), (0.2, 0.5, 0.3)),
    ),
    outcome="treated",
    followed=50 / 331,
)

DFSIGM = Preset(
    name="dfsigm",
    title="Iodine map of gastric cancer, PD-L1 (methods A4)",
    images="iodine map",
    body="iodine lesion",
    label_model=GaussianSources({"iodine": 1.35, "clinical": 0.742}),
    prevalence=0.50,
    subjects=267,
    parts=(Part("train", 143 / 267, (1,)), Part("internal", 60 / 267, (1,)), Part("external", 64 / 267, (2,))),
    columns=(
        Number("age", "Age", "a", 61.0, 10.0, share=0.48, digits=1),
        SEX,
        Number("cea", "Carcinoembryonic antigen", "ng/ml", 3.0, 0.8, share=0.64, log=True, missing=MISSING_LAB),
        Number("ca199", "CA 19-9", "[U]/ml", 15.0, 1.0, share=0.6, log=True, missing=MISSING_LAB),
        Levels("t_stage", "T stage", ("T1", "T2", "T3", "T4"), (0.1, 0.15, 0.35, 0.4)),
        Levels("n_stage", "N stage", ("N0", "N1", "N2", "N3"), (0.3, 0.2, 0.25, 0.25)),
        Levels("m_stage", "M stage", ("M0", "M1"), (0.8, 0.2)),
        Levels("location", "Location", ("cardia", "body", "antrum"), (0.25, 0.35, 0.4)),
        Levels("differentiation", "Differentiation", ("good", "moderate", "poor"), (0.1, 0.4, 0.5)),
        Levels("lauren", "Lauren type", ("intestinal", "diffuse", "mixed"), (0.5, 0.3, 0.2)),
        # what is measured in the aorta of the same map: a distractor, for the normalised iodine concentration
        Number("aorta_iodine", "Iodine in the aorta", "mg/ml", 4.0, 0.6),
    ),
)


def _lab(name: str, title: str, unit: str, middle: float, width: float, share: float = 0.0) -> Number:
    return Number(name, title, unit, middle, width, share, log=True, missing=MISSING_LAB)


PRRT_PFS = Preset(
    name="prrt_pfs",
    title="SSTR PET/CT before PRRT, progression within 12 months (methods A5)",
    images="PET/CT",
    body="whole body",
    label_model=Suppressor(distance=0.742, burden_sd=3.0, clinical=0.358),
    prevalence=0.36,
    subjects=116,
    parts=(Part("train", 1.0, (1,)),),
    columns=(
        Number("age", "Age", "a", 62.0, 11.0, digits=1),
        SEX,
        _lab("cga", "Chromogranin A", "ug/l", 300.0, 1.3, 0.64),
        _lab("ggt", "Gamma-glutamyltransferase", "U/l", 60.0, 0.8, 0.6),
        _lab("alp", "Alkaline phosphatase", "U/l", 95.0, 0.4, 0.48),
        _lab("ast", "Aspartate aminotransferase", "U/l", 28.0, 0.4),
        _lab("alt", "Alanine aminotransferase", "U/l", 27.0, 0.5),
        _lab("bilirubin", "Bilirubin", "mg/dl", 0.6, 0.4),
        _lab("creatinine", "Creatinine", "mg/dl", 0.9, 0.25),
        _lab("haemoglobin", "Haemoglobin", "g/dl", 12.8, 0.12),
        _lab("leucocytes", "Leucocytes", "10*9/l", 6.5, 0.3),
        _lab("platelets", "Platelets", "10*9/l", 240.0, 0.3),
        _lab("ldh", "Lactate dehydrogenase", "U/l", 210.0, 0.25),
        _lab("albumin", "Albumin", "g/l", 41.0, 0.09),
    ),
    outcome="progression",
    followed=1.0,
)

PRESETS: Mapping[str, Preset] = MappingProxyType({p.name: p for p in (USSL, DLR, CPC, DFSIGM, PRRT_PFS)})
LABEL_MODELS: Mapping[str, LabelModel] = MappingProxyType({"clustered": Clustered(), "continuous": Continuous()})
"""Label models that may take the place of a preset's own where PET and CT share one score (``ussl``)."""
