"""The object of `analyse --json` (design, section 9): scripts depend on its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dicom_node.report.words import verdict
from inference.facts import Analysis, Lesion, Pair, Result, Series, SuvRule, SuvScale


def blank_answer() -> dict[str, Any]:
    """Every key that the object has, before anything is known."""
    empty: dict[str, Any] = dict.fromkeys(("kind", "pet", "ct", "suv", "tracer", "prediction", "model"))
    lists: dict[str, Any] = {"warnings": [], "story": [], "references": [], "lesions": [], "values": []}
    lists["results"] = []
    return {"status": "failed", "reason_code": None, "reason": None} | empty | lists


def describe_pair(pair: Pair, answer: dict[str, Any]) -> None:
    """What was chosen."""
    answer |= {"kind": pair.kind, "pet": describe_series(pair.pet) if pair.pet else None}
    answer |= {"ct": describe_series(pair.ct), "story": list(pair.story)}
    answer["warnings"] = [asdict(c) for c in pair.cautions]


def describe_series(series: Series) -> dict[str, Any]:
    """A series that was chosen, and why."""
    count = len({i.sop_instance_uid for i in series.instances})  # frames of one object count once
    return {"series_instance_uid": series.series_instance_uid, "instances": count, "why": series.why}


def describe_analysis(analysis: Analysis, answer: dict[str, Any]) -> None:
    """What was found."""
    rule, prediction, model = analysis.rule, analysis.prediction, analysis.model
    spoken = verdict.spoken(analysis) is not None
    answer["warnings"] = [asdict(c) for c in analysis.cautions]
    answer["suv"] = _describe_rule(rule, analysis.also_suv) if rule else None
    answer["tracer"] = asdict(analysis.tracer)
    answer["references"] = [asdict(reference) for reference in analysis.references]
    answer["lesions"] = [_describe_lesion(lesion, analysis.also_suv) for lesion in analysis.lesions]
    answer["prediction"] = {
        "target": model.target,
        "probability": prediction.probability if spoken else None,
        "interval": list(prediction.interval) if spoken and prediction.interval else None,
        "status": verdict.state(analysis),
        "applicability": prediction.applicability,
        "applicability_reasons": list(prediction.applicability_reasons),
    }
    answer["values"] = [asdict(value) for value in analysis.values]
    keys = ("name", "version", "digest", "backend", "precision", "demonstration", "statement")
    answer["model"] = {key: getattr(model, key) for key in keys}


def _describe_rule(rule: SuvRule, also: Sequence[SuvScale]) -> dict[str, Any]:
    one = len(set(rule.factors)) == 1
    return {
        "suv_type": rule.suv_type,
        "factor": rule.factors[0] if one else list(rule.factors),
        "rule": rule.rule,
        "inputs": dict(rule.inputs),
        "reference_time": rule.reference_time,
        "also": [asdict(scale) for scale in also],
    }


_OF_UPTAKE = frozenset({"suv_max", "suv_mean", "suv_peak", "mtv_ml", "mtv_threshold", "mtv_suv_mean", "tlg"})


def _describe_lesion(lesion: Lesion, also: Sequence[SuvScale]) -> dict[str, Any]:
    """Measures of the PET are null where there is none."""
    keys = ("tracking_name", "suv_max", "suv_mean", "suv_peak", "volume_ml", "mean_hu", "mtv_ml", "mtv_threshold")
    more = ("mtv_suv_mean", "tlg", "source", "mean_iodine")
    uptake = lesion.uptake
    others = {
        scale.name: {key: getattr(uptake, f"suv_{key}") * scale.factor for key in ("max", "mean", "peak")}
        for scale in also
        if uptake
    }
    described = {
        key: (getattr(uptake, key) if uptake else None) if key in _OF_UPTAKE else getattr(lesion, key)
        for key in (*keys, *more)
    }
    return described | {"also_suv": others, "centroid_lps_mm": list(lesion.centroid_lps_mm)}


def describe_results(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What was written, and where."""
    keys = ("kind", "sop_class_uid", "sop_instance_uid")
    return [{key: getattr(result, key) for key in keys} | {"path": str(result.path)} for result in results]
