"""What may be said of an analysis, in plain sentences: the same ones in every report and on every picture.

``say``: the phrases of the language to say it in; English unless given.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from dicom_node import errors
from dicom_node.report.words.phrases import Phrases
from inference.facts import Analysis, Caution, Kind, Lesion, Prediction, ReferenceUptake, Refused, Saliency, Tracer

MOST_LESIONS = 20  # the largest ones; the SR says how many were left out
ENGLISH = Phrases()
ORIGINAL = "[en: "
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
KIND_KEYS: Mapping[Kind, str] = {"PET/CT": "pet", "CT": "ct", "iodine map": "iodine"}  # how phrases of each end
IMPORTANCE = {code: rank for rank, codes_of_rank in enumerate(_BY_IMPORTANCE) for code in codes_of_rank}


@dataclass(frozen=True, slots=True)
class Spoken:
    """A probability that may be printed, in percent; ``bounds``: its interval, None where the model has one member."""

    percent: float
    bounds: tuple[float, float] | None


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


def demonstrates_only(analysis: Analysis) -> bool:
    """Whether a probability is printed although the model does not apply: a demonstration's, and no result."""
    return analysis.prediction.applicability == "outside" and spoken(analysis) is not None


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


def interval(number: Spoken, say: Phrases = ENGLISH) -> str:
    """The interval of a probability in words."""
    if number.bounds is None:
        return say("no-interval")
    low, high = number.bounds
    return say("interval", low=f"{low:.1f}", high=f"{high:.1f}")


def headline(analysis: Analysis, say: Phrases = ENGLISH) -> str:
    """The verdict in one sentence; where the model does not apply, that comes before its number."""
    number = spoken(analysis)
    if number is None:
        key = {"withheld": "headline-withheld", "none": "headline-none"}.get(state(analysis), "headline-no-probability")
        return say(key)
    if demonstrates_only(analysis):
        return f"{say('not-applicable')} {demonstration(analysis, number, say)}"
    return _probability(analysis, number, say)


def demonstration(analysis: Analysis, number: Spoken, say: Phrases = ENGLISH) -> str:
    """A number that is no result, called so."""
    return say("demonstration-only", headline=_probability(analysis, number, say))


def _probability(analysis: Analysis, number: Spoken, say: Phrases) -> str:
    name, percent = analysis.model.probability_code.meaning, f"{number.percent:.1f}"
    text = say("headline-probability", name=name, percent=percent, interval=interval(number, say))
    return say("headline-indeterminate", headline=text) if analysis.prediction.status == "indeterminate" else text


def applicability_sentence(prediction: Prediction, say: Phrases = ENGLISH) -> str:
    """The verdict on applicability with its reasons."""
    sentence, why = (
        say("applicability", words=say(f"applicability-{applicability(prediction)}")),
        reasons(prediction, say),
    )
    return say("applicability-why", sentence=sentence, reasons=why) if why else sentence


def reasons(prediction: Prediction, say: Phrases = ENGLISH) -> str:
    """Why the model applies or not; "" where nothing is said."""
    said = [say.reason(reason) for reason in prediction.applicability_reasons]
    return reduce(lambda a, b: say("and-also", one=a, other=b), said) if said else ""


def lesion_count(found: int, shown: int, say: Phrases = ENGLISH) -> str:
    """How many lesions were found, and how many of them the results leave out."""
    count = say({0: "lesions-none", 1: "lesions-one"}.get(found, "lesions-many"), found=found)
    return count if shown == found else say("lesions-left-out", count=count, shown=shown, rest=found - shown)


def image(kind: Kind, say: Phrases = ENGLISH) -> str:
    """What the images are called that results are shown on."""
    return say(f"image-{KIND_KEYS[kind]}")


def images(kind: Kind, say: Phrases = ENGLISH) -> str:
    """What is looked at, as a title begins with it."""
    return say(f"images-{KIND_KEYS[kind]}")


def values_given(analysis: Analysis, say: Phrases = ENGLISH) -> str:
    """How many of the values beside the images are missing, without a value; "" where the model takes none."""
    missing = sum(value.value is None for value in analysis.values)
    key = "values-missing" if missing else "values-all"
    return say(key, number=missing, all=len(analysis.values)) if analysis.values else ""


def region_source(lesion: Lesion, say: Phrases = ENGLISH) -> str:
    """By whose word the voxels of a lesion's region are it."""
    key = "pet" if lesion.uptake else "ct" if lesion.mean_iodine is None else "iodine"
    return say(f"segment-source-{lesion.source.lower()}", voxels=say(f"voxels-{key}"))


def tracer(injected: Tracer, say: Phrases = ENGLISH) -> str:
    """What was injected, and how the header says it."""
    named = ", ".join(part for part in (injected.name or say("not-known"), injected.nuclide) if part)
    return say("tracer-header", named=named, text=injected.text) if injected.text else say("tracer", named=named)


def reference(uptake: ReferenceUptake, say: Phrases = ENGLISH) -> str:
    """A reference organ's uptake and where it was measured."""
    x, y, z = uptake.centre_lps_mm
    return say(
        "reference-uptake",
        site=say(f"site-{uptake.site.replace(' ', '-')}"),
        mean=f"{uptake.suv_mean:.2f}",
        sd=f"{uptake.suv_sd:.2f}",
        volume=f"{uptake.volume_ml:.1f}",
        centre=f"({x:.0f}, {y:.0f}, {z:.0f})",
    )


def cautions(analysis: Analysis) -> tuple[Caution, ...]:
    """All visible warnings of the analysis, each once, by importance and then in the order they came up.

    A picture has room for a few; the rest stand in the structured report alone.
    """
    once = dict.fromkeys(
        (*analysis.cautions, *analysis.pair.cautions, *(analysis.rule.cautions if analysis.rule else ()))
    )
    return tuple(sorted(once, key=lambda caution: IMPORTANCE.get(caution.code, len(_BY_IMPORTANCE))))


def model_line(analysis: Analysis, say: Phrases = ENGLISH) -> str:
    """Which model spoke, on what."""
    model = analysis.model
    return say(
        "model",
        name=model.name,
        version=model.version,
        digest=model.digest[:12],
        backend=model.backend,
        precision=model.precision,
    )


def caution_sentence(caution: Caution, say: Phrases = ENGLISH) -> str:
    """A warning for pictures: in English with its values, else the sentence of its code."""
    return say.caution(caution.code, caution.text)


def refusal_sentence(refused: Refused, say: Phrases = ENGLISH) -> str:
    """Why nothing was analysed, for pictures: in English with its values, else the sentence of its code."""
    return say.refusal(refused.code, refused.reason)


def what_to_do(refused: Refused, say: Phrases = ENGLISH) -> str:
    """Who has to do what after a refusal."""
    row = errors.row(refused.code)
    return say("what-to-do", who=say(f"who-{row.who}"), advice=say.advice(row.advice))


def in_full(said: str, english: str) -> str:
    """For structured reports: what is said, and behind it the English with its values where that is another text."""
    return said if said == english else f"{said} {ORIGINAL}{english}]"


def original(text: str) -> str:
    """The English of what ``in_full`` made, behind the code that may open the text."""
    before, mark, english = text.partition(ORIGINAL)
    code = re.match(r"[a-z0-9-]+: |", before)
    return f"{code[0] if code else ''}{english.removesuffix(']')}" if mark else text
