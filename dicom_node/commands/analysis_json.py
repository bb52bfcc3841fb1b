"""The object of `analyse --json` (design, section 9): scripts depend on its keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from dicom_node.report.words import verdict
from inference.facts import Analysis, Lesion, Pair, Result, Series, SuvScale


def blank_answer() -> dict[str, Any]:
    """Every key that the object has, before anything is known."""
    empty: dict[str, Any] = dict.fromkeys(("pet", "ct", "suv", "tracer", "prediction", "model"))
    lists: dict[str, Any] = {"warnings": [], "story": [], "references": [], "lesions": [], "results": []}
    return {"status": "failed", "reason_code": None, "reason": None} | empty | lists


def describe_pair(pair: Pair, answer: dict[str, Any]) -> None:
    """What was chosen."""
    answer |= {"pet": describe_series(pair.pet), "ct": describe_series(pair.ct), "story": list(pair.story)}
    answer["warnings"] = [asdict(c) for c in pair.cautions]


def describe_series(series: Series) -> dict[str, Any]:
    """A series that was chosen, and why."""
    count = len({i.sop_instance_uid for i in series.instances})  # frames of one object count once
    return {"series_instance_uid": series.series_instance_uid, "instances": count, "why": series.why}


def describe_analysis(analysis: Analysis, answer: dict[str, Any]) -> None:
    """What was found."""
    rule, prediction, model = analysis.rule, analysis.prediction, analysis.model
    one, spoken = len(set(rule.factors)) == 1, verdict.spoken(analysis) is not None
    answer["warnings"] = [asdict(c) for c in analysis.cautions]
    answer["suv"] = {
        "suv_type": rule.suv_type,
        "factor": rule.factors[0] if one else list(rule.factors),
        "rule": rule.rule,
        "inputs": dict(rule.inputs),
        "reference_time": rule.reference_time,
        "also": [asdict(scale) for scale in analysis.also_suv],
    }
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
    keys = ("name", "version", "digest", "backend", "precision", "demonstration", "statement")
    answer["model"] = {key: getattr(model, key) for key in keys}


def _describe_lesion(lesion: Lesion, also: Sequence[SuvScale]) -> dict[str, Any]:
    keys = ("tracking_name", "suv_max", "suv_mean", "suv_peak", "volume_ml", "mean_hu", "mtv_ml", "mtv_threshold")
    more = ("mtv_suv_mean", "tlg", "source")
    others = {
        scale.name: {key: getattr(lesion, f"suv_{key}") * scale.factor for key in ("max", "mean", "peak")}
        for scale in also
    }
    described = {key: getattr(lesion, key) for key in (*keys, *more)} | {"also_suv": others}
    return described | {"centroid_lps_mm": list(lesion.centroid_lps_mm)}


def describe_results(results: Sequence[Result]) -> list[dict[str, Any]]:
    """What was written, and where."""
    keys = ("kind", "sop_class_uid", "sop_instance_uid")
    return [{key: getattr(result, key) for key in keys} | {"path": str(result.path)} for result in results]
