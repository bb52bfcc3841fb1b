"""Without a node: `petct-node analyse` on a folder, through the same rooms as the node."""

from __future__ import annotations

import json
import re
import resource
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dicom_node.commands.analysis_json import blank_answer, describe_analysis, describe_pair, describe_results
from dicom_node.config import Settings
from dicom_node.identity import make_run, now_dt
from inference.facts import Instance, ModelFacts, Pair, Refused, Run

if TYPE_CHECKING:
    from inference.lesions.segmenter import Segmenter
    from inference.model.predict import Model

RUN_FILE = "run.json"


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


@dataclass(frozen=True, slots=True)
class _Asked:
    """What holds for every model that looks at the study."""

    settings: Settings
    use_given_region: bool
    debug: bool


@dataclass(frozen=True, slots=True)
class _Look:
    """One model's look at the pair: the bundle's name, and the folder of its results."""

    bundle: str
    out: Path


def analyse_folder(
    folder: Path,
    out: Path,
    settings: Settings,
    *,
    bundle: str | None = None,
    calling_ae_title: str = "",
    use_given_region: bool = True,
    debug: bool = False,
) -> dict[str, Any]:
    """Analyse the one study in ``folder`` and write its results into ``out``.

    Without ``bundle`` the configuration says which model looks: ``infer.bundle``, or the routing rules, to which
    ``calling_ae_title`` is who sent the study.  Where several look, each writes into a folder of its own in ``out``.

    Returns the object of `analyse --json` (design, section 9): a refusal is status "refused" with its code and reason
    and, where a PET or CT could be read, a refusal report among the results; anything unexpected is "failed".
    ``further`` holds the same object of each further model.
    """
    asked = _Asked(settings, use_given_region, debug)
    looks: list[_Look] = []
    answer, stages = blank_answer(), _Stages()
    with _told(answer, stages, debug):
        pair, segmenter, model = _begin(folder, out, asked, bundle, stages, answer)
        looks = _looks(pair, settings, bundle, calling_ae_title, out)
        _look(pair, looks[0], model, segmenter, asked, stages, answer)
    further = []
    for look in looks[1:]:
        another, its_stages = blank_answer(), _Stages()
        with _told(another, its_stages, debug):
            describe_pair(pair, another)
            _look(pair, look, None, segmenter, asked, its_stages, another)
        further.append(another)
    return answer | {"further": further}


@contextmanager
def _told(answer: dict[str, Any], stages: _Stages, debug: bool) -> Iterator[None]:
    """The contract: one object, whatever happened."""
    try:
        yield
        answer["status"] = "done"
    except Refused as refused:
        answer |= {"status": "refused", "reason_code": refused.code, "reason": refused.reason}
    except Exception as error:  # noqa: BLE001
        if debug:
            traceback.print_exc()
        reason = f"internal error ({type(error).__name__}); run again with --debug and report it"
        answer |= {"status": "failed", "reason_code": "internal-error", "reason": reason}
    answer["timings_s"] = stages.finished()
    answer["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def _begin(
    folder: Path, out: Path, asked: _Asked, bundle: str | None, stages: _Stages, answer: dict[str, Any]
) -> tuple[Pair, Segmenter | None, Model | None]:
    """What comes before any model looks; a study that has no pair is answered here.

    The model: the only one that may look, loaded before the study is judged, since a bundle that fails is not the
    patient's affair; None where routing rules choose.
    """
    from dicom_node.commands import out_folder
    from dicom_node.commands.study_folder import one_study, pair_of
    from inference.lesions.segmenter import load_segmenter
    from inference.reading.instance import scan_folder

    settings = asked.settings
    out_folder.prepare_for_results(out)
    with stages("scan"):
        scan = scan_folder(folder)
    with stages("load model"):
        segmenter = load_segmenter(settings.infer.segmenter) if settings.infer.segmenter else None
        only = bundle or (settings.bundles[0] if len(settings.bundles) == 1 else None)
        model = _load_model(only, settings) if only else None
    instances: Sequence[Instance] = ()
    try:
        with stages("assemble"):
            instances = one_study(scan.instances, two_studies=settings.assemble.two_studies)
            pair = pair_of(instances, scan, settings)
    except Refused as refused:
        answer["results"] = _refusal_results(instances, refused, model.facts if model else None, asked, out)
        raise
    if not asked.use_given_region:
        pair = replace(pair, region=None)
    describe_pair(pair, answer)
    return pair, segmenter, model


def _looks(pair: Pair, settings: Settings, bundle: str | None, calling_ae_title: str, out: Path) -> list[_Look]:
    """Who looks at the pair.  Raises ``Refused``: not-routed."""
    from dicom_node.assemble.routing import Router

    if bundle:
        return [_Look(bundle, out)]
    routed = Router.of(settings).models(pair, [(calling_ae_title, "")] if calling_ae_title else [])
    if not routed.bundles:
        reason = f"No routing rule wants this study: {' '.join(routed.why)} Name a model by --bundle."
        raise Refused("not-routed", reason)
    if len(routed.bundles) == 1:
        return [_Look(routed.bundles[0], out)]
    names = [re.sub(r"[^A-Za-z0-9_.-]", "_", Path(name).name) for name in routed.bundles]
    return [_Look(b, out / f"{n}-{name}") for n, (b, name) in enumerate(zip(routed.bundles, names, strict=True), 1)]


def _look(
    pair: Pair,
    look: _Look,
    model: Model | None,
    segmenter: Segmenter | None,
    asked: _Asked,
    stages: _Stages,
    answer: dict[str, Any],
) -> None:
    """``model``: where it is loaded already."""
    from dicom_node.commands import out_folder
    from dicom_node.report import write_results
    from inference.analyse import analyse

    out_folder.prepare_for_results(look.out)
    settings = asked.settings
    if model is None:
        with stages("load model"):
            model = _load_model(look.bundle, settings)
    try:
        analysis = analyse(
            pair,
            model,
            also_suv=settings.infer.also_suv,
            segmenter=segmenter,
            region_names=settings.assemble.region_names,
        )
    except Refused as refused:
        answer["results"] = _refusal_results(pair.images, refused, model.facts, asked, look.out)
        raise
    stages.seconds |= analysis.timings_s
    describe_analysis(analysis, answer)
    with stages("report"):
        subject = f"{pair.digest} {model.facts.digest}"
        answer["results"] = describe_results(
            write_results(analysis, _run_of(look.out, asked, subject, segmenter), look.out)
        )


def _load_model(bundle: str, settings: Settings) -> Model:
    from inference.model.bundle import find_bundle
    from inference.model.predict import Model

    path = find_bundle(bundle, search=[settings.bundles_dir])
    return Model.load(path, device=settings.infer.device, threads=settings.infer.threads)


def _run_of(out: Path, asked: _Asked, subject: str, segmenter: Segmenter | None = None) -> Run:
    """The run's start, recorded in ``out`` once: a repeat of the same pair and model writes the same bytes."""
    run_file = out / RUN_FILE
    try:
        recorded = json.loads(run_file.read_text())
    except (OSError, ValueError):  # not there, or cut short by a crash
        recorded = None
    if not isinstance(recorded, dict) or recorded.get("subject") != subject:
        recorded = {"subject": subject, "started_at": now_dt()}
        run_file.write_text(json.dumps(recorded, indent=1) + "\n")
    return make_run(
        asked.settings, recorded["started_at"], use_given_region=asked.use_given_region, segmenter=segmenter
    )


def _refusal_results(
    instances: Sequence[Instance], refused: Refused, model: ModelFacts | None, asked: _Asked, out: Path
) -> list[dict[str, Any]]:
    """A refusal is a result too, wherever there is an image of a patient to hang it on."""
    from dicom_node.commands.study_folder import IMAGE_MODALITIES
    from dicom_node.report import write_refusal

    images = [i for i in instances if i.modality in IMAGE_MODALITIES]
    if not images:
        return []
    subject = " ".join([refused.code, *sorted(i.sha256 for i in images)])
    return describe_results(write_refusal(images, refused, model, _run_of(out, asked, subject), out))
