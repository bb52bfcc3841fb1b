"""Without a node: `petct-node analyse` on a folder, through the same rooms as the node."""

from __future__ import annotations

import json
import resource
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.config import Settings
from dicom_node.identity import make_run, now_dt
from inference.facts import Analysis, Instance, Lesion, Pair, Refused, Result, Run, Series, SuvScale

if TYPE_CHECKING:
    from inference.predict import Model
    from inference.segmenter import Segmenter

RUN_FILE = "run.json"
IMAGE_MODALITIES = {"PT", "CT"}


class _Stages:
    """Seconds per stage, in the order they ran."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._began = time.perf_counter()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = time.perf_counter() - began

    def finished(self) -> dict[str, float]:
        return {k: round(v, 4) for k, v in {**self.seconds, "total": time.perf_counter() - self._began}.items()}


def analyse_folder(
    folder: Path,
    out: Path,
    settings: Settings,
    *,
    bundle: str = "demo",
    use_given_region: bool = True,
    debug: bool = False,
) -> dict[str, Any]:
    """Analyse the one study in ``folder`` and write its results into ``out``.

    Returns the object of `analyse --json` (design, section 9): a refusal is status "refused" with its code and reason
    and, where a PET or CT could be read, a refusal report among the results; anything unexpected is "failed".
    """
    stages = _Stages()
    answer = _blank_answer()
    try:
        _analyse(folder, out, settings, bundle, use_given_region, stages, answer)
        answer["status"] = "done"
    except Refused as refused:
        answer |= {"status": "refused", "reason_code": refused.code, "reason": refused.reason}
    except Exception as error:  # noqa: BLE001 - the contract: one object, whatever happened
        if debug:
            traceback.print_exc()
        reason = f"internal error ({type(error).__name__}); run again with --debug and report it"
        answer |= {"status": "failed", "reason_code": "internal-error", "reason": reason}
    answer["timings_s"] = stages.finished()
    answer["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    return answer


def _analyse(
    folder: Path,
    out: Path,
    settings: Settings,
    bundle: str,
    use_given_region: bool,
    stages: _Stages,
    answer: dict[str, Any],
) -> None:
    from dicom_node.assemble import assemble
    from dicom_node.commands import out_folder
    from dicom_node.report import write_results
    from inference.instance import scan_folder
    from inference.segmenter import load_segmenter

    out_folder.prepare_for_results(out)
    with stages("scan"):
        scan = scan_folder(folder)
    with stages("load model"):  # before the study is judged: a bundle that fails is not the patient's affair
        segmenter = load_segmenter(settings.infer.segmenter) if settings.infer.segmenter else None
        model = _load_model(bundle, settings)
    instances: Sequence[Instance] = ()
    try:
        with stages("assemble"):
            instances = one_study(scan.instances, two_studies=settings.assemble.two_studies)
            pair = assemble(
                instances,
                scan.set_aside,
                two_studies=settings.assemble.two_studies,
                region_names=settings.assemble.region_names,
            )
            if not use_given_region:
                pair = replace(pair, region=None)
        _describe_pair(pair, answer)
        from inference.analyse import analyse

        analysis = analyse(
            pair,
            model,
            also_suv=settings.infer.also_suv,
            segmenter=segmenter,
            region_names=settings.assemble.region_names,
        )
    except Refused as refused:
        answer["results"] = _refusal_results(instances, refused, model, settings, use_given_region, out)
        raise
    stages.seconds |= analysis.timings_s
    _describe_analysis(analysis, answer)
    with stages("report"):
        run = _recorded_run(out, settings, pair, model, use_given_region, segmenter)
        answer["results"] = _describe_results(write_results(analysis, run, out))


def one_study(instances: Sequence[Instance], *, two_studies: bool = False) -> list[Instance]:
    """The study that holds PET or CT images; with ``two_studies`` the PET's, and a CT of another that belongs to it.

    Refused where there is none, or more than one.
    """
    from dicom_node.assemble import join_studies

    if not instances:
        raise Refused("no-dicom", "no readable DICOM file in the folder; name the folder of one PET/CT study")
    studies = sorted({i.study_instance_uid for i in instances if i.modality in IMAGE_MODALITIES})
    if not studies:
        modalities = ", ".join(sorted({i.modality or "none" for i in instances}))
        raise Refused(
            "no-pet-ct", f"the folder has no PET or CT image (found modalities: {modalities})", modalities=modalities
        )
    if len(studies) > 1:
        if two_studies and (joined := join_studies(instances)):
            return joined
        raise Refused(
            "several-studies",
            f"the folder holds {len(studies)} studies with PET or CT images; name the folder of one study",
            studies=studies,
        )
    return [i for i in instances if i.study_instance_uid == studies[0]]


def _load_model(bundle: str, settings: Settings) -> Model:
    from inference.bundle import find_bundle
    from inference.predict import Model

    path = find_bundle(bundle, search=[settings.bundles_dir])
    return Model.load(path, device=settings.infer.device, threads=settings.infer.threads)


def _recorded_run(
    out: Path, settings: Settings, pair: Pair, model: Model, use_given_region: bool, segmenter: Segmenter | None
) -> Run:
    """The run's start, recorded in ``out`` once: a repeat of the same pair and model writes the same bytes."""
    return _run_of(out, settings, f"{pair.digest} {model.facts.digest}", use_given_region, segmenter)


def _run_of(
    out: Path, settings: Settings, subject: str, use_given_region: bool, segmenter: Segmenter | None = None
) -> Run:
    run_file = out / RUN_FILE
    try:
        recorded = json.loads(run_file.read_text())
    except (OSError, ValueError):  # not there, or cut short by a crash
        recorded = None
    if not isinstance(recorded, dict) or recorded.get("subject") != subject:
        recorded = {"subject": subject, "started_at": now_dt()}
        run_file.write_text(json.dumps(recorded, indent=1) + "\n")
    return make_run(settings, recorded["started_at"], use_given_region=use_given_region, segmenter=segmenter)


def _refusal_results(
    instances: Sequence[Instance],
    refused: Refused,
    model: Model,
    settings: Settings,
    use_given_region: bool,
    out: Path,
) -> list[dict[str, Any]]:
    """A refusal is a result too, wherever there is an image of a patient to hang it on."""
    images = [i for i in instances if i.modality in IMAGE_MODALITIES]
    if not images:
        return []
    from dicom_node.report import write_refusal

    subject = " ".join([refused.code, *sorted(i.sha256 for i in images)])
    run = _run_of(out, settings, subject, use_given_region)
    return _describe_results(write_refusal(images, refused, model.facts, run, out))


def _blank_answer() -> dict[str, Any]:
    empty: dict[str, Any] = dict.fromkeys(("pet", "ct", "suv", "tracer", "prediction", "model"))
    lists: dict[str, Any] = {"warnings": [], "story": [], "references": [], "lesions": [], "results": []}
    return {"status": "failed", "reason_code": None, "reason": None} | empty | lists


def _describe_pair(pair: Pair, answer: dict[str, Any]) -> None:
    def series(of: Series) -> dict[str, Any]:
        count = len({i.sop_instance_uid for i in of.instances})  # frames of one object count once
        return {"series_instance_uid": of.series_instance_uid, "instances": count, "why": of.why}

    answer |= {"pet": series(pair.pet), "ct": series(pair.ct), "story": list(pair.story)}
    answer["warnings"] = [asdict(c) for c in pair.cautions]


def _describe_analysis(analysis: Analysis, answer: dict[str, Any]) -> None:
    rule, prediction, model = analysis.rule, analysis.prediction, analysis.model
    one = len(set(rule.factors)) == 1
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
        "probability": prediction.probability,
        "interval": list(prediction.interval) if prediction.interval else None,
        "status": prediction.status,
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


def _describe_results(results: Sequence[Result]) -> list[dict[str, Any]]:
    keys = ("kind", "sop_class_uid", "sop_instance_uid")
    return [{key: getattr(result, key) for key in keys} | {"path": str(result.path)} for result in results]


def print_analysis(answer: dict[str, Any], console: Console) -> None:
    """`analyse` for people."""
    if answer["status"] != "done":
        console.print(
            f"[red]{answer['status']}[/red] ({answer['reason_code']}): {escape(answer['reason'])}", highlight=False
        )
    else:
        _print_done(answer, console)
    for caution in answer["warnings"]:
        console.print(f"[yellow]warning[/yellow] ({caution['code']}): {escape(caution['text'])}", highlight=False)
    for result in answer["results"]:
        console.print(f"  {result['kind']:10} {result['path']}", highlight=False, markup=False, soft_wrap=True)


def _print_done(answer: dict[str, Any], console: Console) -> None:
    prediction, model = answer["prediction"], answer["model"]
    console.print(f"SUV: {answer['suv']['rule']}", highlight=False, markup=False)
    table = Table(box=None, pad_edge=False)
    columns = {"lesion": "tracking_name", "source": "source", "SUVmax": "suv_max", "SUVmean": "suv_mean"}
    columns |= {"SUVpeak": "suv_peak", "volume ml": "volume_ml", "MTV ml": "mtv_ml", "TLG g": "tlg"}
    for heading in columns:
        table.add_column(heading, justify="left" if heading in ("lesion", "source") else "right")
    for lesion in answer["lesions"]:
        values = (lesion[key] for key in columns.values())
        table.add_row(*(v if isinstance(v, str) else f"{v:.2f}" for v in values))
    console.print(table if answer["lesions"] else "no lesion found")
    if prediction["probability"] is None:
        console.print(f"{prediction['target']}: {prediction['status']}", highlight=False)
        for reason in prediction["applicability_reasons"]:
            console.print(f"  {reason}", highlight=False, markup=False)
    else:
        # two decimals of a per cent first, as the SR holds them: every output then rounds alike
        said, *low_high = (
            f"{round(value, 4):.1%}" for value in (prediction["probability"], *(prediction["interval"] or ()))
        )
        interval = " to ".join(low_high) or "no interval: one member"
        text = f"{prediction['target']}: {said} ({interval}), "
        console.print(f"{text}{prediction['status']}, applicability {prediction['applicability']}", highlight=False)
    console.print(
        f"model {model['name']} {model['version']} ({model['backend']}). {model['statement']}", highlight=False
    )
    console.print("[bold]Research use only.[/bold]")
