"""What may be said of an analysis, in plain sentences: the same ones in every report and on every picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.report import codes
from inference.facts import Analysis, Caution, Lesion, Prediction, ReferenceUptake, Saliency, Tracer

MOST_LESIONS = 20  # the largest ones; the SR says how many were left out
APPLICABILITY_WORDS = {
    "inside": "the model applies to this study",
    "warning": "the model applies, with warnings",
    "outside": "the model does not apply to this study",
    "unknown": "unknown whether the model applies to this study",
}
# First what says that all numbers may be wrong, then what says that the lesion may be none, then what rests on a guess.
_BY_IMPORTANCE = (
    (
        *("suv-implausible", "more-than-the-dose", "slice-scale-differs", "decay-factor-disagrees"),
        *("decay-correction-contradicted", "reference-times-disagree", "counts-per-second-converted"),
        *("weight-height-implausible", "height-implausible", "dose-per-weight-unusual", "liver-uptake-unusual"),
        *("injection-day-assumed", "injection-zone-unconfirmed", "injection-times-differ", "lossy-compression"),
    ),
    (
        *("no-lesion-found", "tracer-contradicted", "lesion-doubtful", "organ-uptake-beyond-organ"),
        *("physiologic-pattern-differs", "physiologic-pattern-assumed", "physiologic-uptake-not-assessed"),
        *("region-automatic", "region-not-named-tumour", "regions-overlap", "region-beyond-pet"),
    ),
    (
        *("demonstration-does-not-apply", "applicability-unknown", "uptake-time", "dose-in-mbq", "weight-in-grams"),
        *("half-life-from-nuclide", "half-life-not-checked", "injection-date-moved", "injection-day-before"),
        *("scan-date-moved", "reference-time-from-acquisition", "normalisation-not-stated"),
    ),
)
IMPORTANCE = {code: rank for rank, codes_of_rank in enumerate(_BY_IMPORTANCE) for code in codes_of_rank}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A probability that may be printed, in percent; ``bounds``: its interval, None where the model has one member."""

    percent: float
    bounds: tuple[float, float] | None

    @property
    def interval(self) -> str:
        """The interval in words."""
        if self.bounds is None:
            return "no interval: one member"
        return f"95 % interval {self.bounds[0]:.1f} to {self.bounds[1]:.1f} %"


def spoken(analysis: Analysis) -> Spoken | None:
    """The probability to print, or None where none may be.

    Only a demonstration model may speak where its applicability says "outside"; for any other model that is withheld
    here too, whatever the prediction's status says.
    """
    prediction = analysis.prediction
    if prediction.probability is None or prediction.status not in ("reported", "indeterminate"):
        return None
    if prediction.applicability == "outside" and not analysis.model.demonstration:
        return None
    bounds = prediction.interval and (
        round(100.0 * prediction.interval[0], 2),
        round(100.0 * prediction.interval[1], 2),
    )
    return Spoken(round(100.0 * prediction.probability, 2), bounds)


def state(analysis: Analysis) -> str:
    """Key of ``codes.PREDICTION_STATES``: the prediction's status, "withheld" where it may not be printed."""
    status = analysis.prediction.status
    return "withheld" if status in ("reported", "indeterminate") and spoken(analysis) is None else status


def shown_lesions(lesions: Sequence[Lesion]) -> tuple[Lesion, ...]:
    """The lesions that the results carry: at most ``MOST_LESIONS``, in the order given."""
    return tuple(lesion for lesion in lesions if lesion.region.mask.any())[:MOST_LESIONS]


def shown_saliency(analysis: Analysis) -> Saliency | None:
    """The saliency to draw: none where no probability is printed, since it would explain nothing."""
    return analysis.saliency if spoken(analysis) is not None else None


def applicability(prediction: Prediction) -> str:
    """Key of ``codes.APPLICABILITIES``: inside with reasons is a warning."""
    if prediction.applicability == "inside" and prediction.applicability_reasons:
        return "warning"
    return prediction.applicability


def headline(analysis: Analysis) -> str:
    """The verdict in one sentence."""
    number = spoken(analysis)
    if number is not None:
        name = analysis.model.probability_code.meaning
        text = f"{name}: {number.percent:.1f} % ({number.interval})"
        return f"{text}, indeterminate" if analysis.prediction.status == "indeterminate" else text
    return {
        "withheld": "Probability and saliency withheld: the model does not apply to this study",
        "none": "No probability: there is no lesion to look at",
    }.get(state(analysis), "No probability")


def applicability_sentence(prediction: Prediction) -> str:
    """The verdict on applicability with its reasons."""
    words = APPLICABILITY_WORDS[applicability(prediction)]
    reasons = "; ".join(prediction.applicability_reasons)
    return f"Applicability: {words}" + (f" ({reasons})" if reasons else "")


def lesion_numbers(lesion: Lesion) -> str:
    """A lesion's measures in one line, region's and metabolic volume's kept apart."""
    return (
        f"{lesion.tracking_name} ({lesion.source}): SUVmax {lesion.suv_max:.2f}, mean {lesion.suv_mean:.2f}, "
        f"peak {lesion.suv_peak:.2f}, volume {lesion.volume_ml:.1f} ml; MTV {lesion.mtv_ml:.1f} ml "
        f"(SUV ≥ {lesion.mtv_threshold:.2f}), TLG {lesion.tlg:.1f} g"
    )


def lesion_count(found: int, shown: int) -> str:
    """How many lesions were found, and how many of them the results leave out."""
    if found == 0:
        return "No lesion was found"
    text = f"{found} lesion{'s' if found > 1 else ''} found"
    return text if shown == found else f"{text}; the {shown} largest are reported, {found - shown} left out"


def tracer(injected: Tracer) -> str:
    """What was injected, and how the header says it."""
    named = ", ".join(part for part in (injected.name or "not known", injected.nuclide) if part)
    told = f'; the header says "{injected.text}"' if injected.text else ""
    return f"Tracer: {named}{told}."


def reference(uptake: ReferenceUptake) -> str:
    """A reference organ's uptake and where it was measured."""
    x, y, z = uptake.centre_lps_mm
    where = f"{uptake.volume_ml:.1f} ml round ({x:.0f}, {y:.0f}, {z:.0f}) mm LPS"
    return f"Reference uptake, {uptake.site}: SUVbw mean {uptake.suv_mean:.2f}, SD {uptake.suv_sd:.2f} g/ml, {where}."


def cautions(analysis: Analysis) -> tuple[Caution, ...]:
    """All visible warnings of the analysis, each once, by importance and then in the order they came up.

    A picture has room for a few; the rest stand in the structured report alone.
    """
    once = dict.fromkeys((*analysis.cautions, *analysis.pair.cautions, *analysis.rule.cautions))
    return tuple(sorted(once, key=lambda caution: IMPORTANCE.get(caution.code, len(_BY_IMPORTANCE))))


def model_line(analysis: Analysis) -> str:
    """Which model spoke, on what."""
    model = analysis.model
    return f"Model {model.name} {model.version} ({model.digest[:12]}), {model.backend}, {model.precision}"


RESEARCH_USE_ONLY = f"{codes.RESEARCH_USE_ONLY}. Not a medical device."
