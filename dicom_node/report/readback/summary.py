"""What a result file says, without what it is made of: also the objects of ``petct-node report --json``.

That command prints a list with one object for each result.  Its keys are the fields below, nested as they are here;
they keep their names and meanings, and new ones may come.  What a file does not say is null, "" or an empty list.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class PatientSummary:
    """Whose result it is, as DICOM spells it: name with its component groups, dates as YYYYMMDD."""

    name: str
    patient_id: str
    issuer: str
    birth_date: str
    sex: str
    study_date: str
    accession_number: str


@dataclass(frozen=True, slots=True)
class PredictionSummary:
    """What the SR says of the model's target.  ``probability``, ``interval``: 0..1, None where not printed.

    ``status``: "reported", "indeterminate", "withheld", "none".  ``applicability``: "inside", "warning", "outside",
    "unknown".
    """

    name: str
    status: str
    probability: float | None
    interval: tuple[float, float] | None
    label: str | None
    applicability: str
    applicability_reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LesionSummary:
    """One measurement group: a segment of the SEG, or a contour on an image, with its own numbers.

    ``source``: who found it: "RTSTRUCT" and "SEG" are a person's, "automatic" is ours.  ``algorithm``: what measured
    it, with its version.  ``description``: its voxels in words, "" where a comment says it once for all lesions.
    ``measures``: of suv_max, suv_mean, suv_peak (g/ml), volume_ml, mean_hu, mean_iodine (mg/ml), mtv_ml, tlg (g),
    mtv_threshold those there, and lbm-janma_max and the like where other kinds of SUV were asked for.
    """

    tracking_id: str
    tracking_uid: str
    segment_number: int | None
    image_sop_instance_uid: str | None
    source: str
    measures: dict[str, float]
    algorithm: str = ""
    description: str = ""


@dataclass(frozen=True, slots=True)
class ValueSummary:
    """A value that the model took beside the images; ``value`` is None where it was missing (a median stood in).

    ``name``: of its column in tables.  ``unit``: UCUM, "" for none.  ``source``: "table", "header" or "measured".
    """

    name: str
    title: str
    value: float | str | None
    unit: str
    source: str


@dataclass(frozen=True, slots=True)
class Named:
    """Another object that a report names: one of its set, or one that it replaces.

    ``kind``: several with "or" where its SOP class leaves it open.  ``path``: of its file among those given, None
    where it is not among them.
    """

    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    study_instance_uid: str
    path: str | None = None


@dataclass(frozen=True, slots=True)
class ResultSummary:
    """One result file, without patient data unless it was asked for.

    ``created``: ISO 8601, with the offset from UTC where the file tells it.  ``content``: in words, what objects other
    than reports hold.  ``language``: of the texts of a report (RFC 5646).  ``model_parameters``: digests, backend.
    ``replaces``: reports that must no longer be used.  ``replaced_by``: the SOP Instance UID of a report among those
    given that replaces this one.  ``members``: the others of the set, as the main report names them; of very many of a
    kind three, and in ``counts`` how many there are.
    ``refusal_class``: value and meaning of the coded reason.  ``values``: what the model took beside the images.
    """

    path: str
    kind: str
    sop_class_uid: str
    sop_instance_uid: str
    series_instance_uid: str
    study_instance_uid: str
    series_description: str
    created: str
    node_version: str
    model: str
    model_statement: str
    research_use_only: bool
    content: str
    language: str = ""
    model_parameters: tuple[str, ...] = ()
    prediction: PredictionSummary | None = None
    lesions: tuple[LesionSummary, ...] = ()
    lesion_count: int | None = None
    suv_rule: str = ""
    suv_also: tuple[str, ...] = ()
    suv_inputs: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    comments: tuple[str, ...] = ()
    refusal_code: str = ""
    refusal_class: tuple[str, str] | None = None
    refusal_reason: str = ""
    refusal_advice: str = ""
    replaces: tuple[Named, ...] = ()
    replaced_by: str | None = None
    members: tuple[Named, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    values: tuple[ValueSummary, ...] = ()
    patient: PatientSummary | None = None
