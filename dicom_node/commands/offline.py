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
from inference.model.given import NOTHING_GIVEN, Given

if TYPE_CHECKING:
    from dicom_node.assemble.routing import Router
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
    values: Path | None


@dataclass(frozen=True, slots=True)
class _Look:
    """One model's look: at what of the study, the bundle's name, and the folder of its results."""

    pair: Pair
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
    values: Path | None = None,
    debug: bool = False,
) -> dict[str, Any]:
    """Analyse the one study in ``folder`` and write its results into ``out``.

    Without ``bundle`` the configuration says which model looks: ``infer.bundle``, those of ``infer.bundles`` that admit
    the study, or the routing rules, to which ``calling_ae_title`` is who sent the study.  Where several look, each
    writes into a folder of its own in ``out``.  ``values``: file of clinical and laboratory values, in place of the
    site's table.

    Returns the object of `analyse --json` (design, section 9): a refusal is status "refused" with its code and reason
    and, where a PET or CT could be read, a refusal report among the results; anything unexpected is "failed".
    ``further`` holds the same object of each further model.
    """
    asked = _Asked(settings, use_given_region, debug, values)
    looks: list[_Look] = []
    answer, stages = blank_answer(), _Stages()
    with _told(answer, stages, debug):
        begun = _begin(folder, out, asked, bundle, stages, answer)
        looks = _looks(begun, calling_ae_title, out)
        _look(looks[0], begun.model, begun.segmenter, asked, stages, answer)
    further = []
    for look in looks[1:]:
        another, its_stages = blank_answer(), _Stages()
        with _told(another, its_stages, debug):
            _look(look, begun.model, begun.segmenter, asked, its_stages, another)
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


@dataclass(frozen=True, slots=True)
class _Begun:
    """What comes before any model looks.  ``model``: the only one that may look; None where several may."""

    pairs: tuple[Pair, ...]
    router: Router
    segmenter: Segmenter | None
    model: Model | None


def _begin(
    folder: Path, out: Path, asked: _Asked, bundle: str | None, stages: _Stages, answer: dict[str, Any]
) -> _Begun:
    """A study that has no pair is answered here.

    The only model is loaded before the study is judged, since a bundle that fails is not the patient's affair.
    """
    from dicom_node.commands import out_folder
    from dicom_node.commands.study_folder import one_study, pairs_of
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
        router = _router(settings, bundle)
    instances: Sequence[Instance] = ()
    try:
        with stages("assemble"):
            instances = one_study(scan.instances, two_studies=settings.assemble.two_studies)
            pairs = pairs_of(instances, scan, settings, router)
    except Refused as refused:
        answer["results"] = _refusal_results(instances, refused, model.facts if model else None, asked, out)
        raise
    if not asked.use_given_region:
        pairs = tuple(replace(pair, region=None) for pair in pairs)
    describe_pair(pairs[0], answer)
    return _Begun(pairs, router, segmenter, model)


def _router(settings: Settings, bundle: str | None) -> Router:
    """Of the configuration, or to the one bundle that is named."""
    from dicom_node.assemble.routing import Router
    from dicom_node.contracts import Contracts

    if bundle:
        return Router([], [bundle], Contracts.read(settings, [bundle]))
    return Router.of(settings, Contracts.read(settings))


def _looks(begun: _Begun, calling_ae_title: str, out: Path) -> list[_Look]:
    """Who looks at what of the study.  Raises ``Refused``: not-routed."""
    senders = [(calling_ae_title, "")] if calling_ae_title else []
    routed = [(pair, begun.router.models(pair, senders)) for pair in begun.pairs]
    chosen = [(pair, bundle) for pair, found in routed for bundle in found.bundles]
    if not chosen:
        why = " ".join(text for _, found in routed for text in found.why)
        raise Refused("not-routed", f"No routing rule wants this study: {why} Name a model by --bundle.")
    if len(chosen) == 1:
        pair, bundle = chosen[0]
        return [_Look(pair, bundle, out)]
    names = [re.sub(r"[^A-Za-z0-9_.-]", "_", Path(bundle).name) for _, bundle in chosen]
    return [_Look(p, b, out / f"{n}-{name}") for n, ((p, b), name) in enumerate(zip(chosen, names, strict=True), 1)]


def _look(
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

    pair = look.pair
    describe_pair(pair, answer)
    out_folder.prepare_for_results(look.out)
    settings = asked.settings
    if model is None:
        with stages("load model"):
            model = _load_model(look.bundle, settings)
    given = _given(pair, asked) if model.values else NOTHING_GIVEN
    try:
        analysis = analyse(
            pair,
            model,
            also_suv=settings.infer.also_suv,
            segmenter=segmenter,
            region_names=settings.assemble.region_names,
            given=given,
        )
    except Refused as refused:
        answer["results"] = _refusal_results(pair.images, refused, model.facts, asked, look.out)
        raise
    stages.seconds |= analysis.timings_s
    describe_analysis(analysis, answer)
    with stages("report"):
        values = given.digest(model.values, pair.reference.study_instance_uid)
        subject = " ".join(part for part in (pair.digest, model.facts.digest, values) if part)
        run = _run_of(look.out, asked, subject, segmenter, values)
        answer["results"] = describe_results(write_results(analysis, run, look.out))


def _given(pair: Pair, asked: _Asked) -> Given:
    """The study's clinical and laboratory values, of the file that was named or of the site's table."""
    from dicom_node.values import ValueTable, values_of_file

    images = pair.reference.instances
    if asked.values is not None:
        return values_of_file(asked.values, images)
    return ValueTable(asked.settings.values.table).of(images)


def _load_model(bundle: str, settings: Settings) -> Model:
    from inference.model.bundle import find_bundle
    from inference.model.predict import Model

    path = find_bundle(bundle, search=[settings.bundles_dir])
    return Model.load(path, device=settings.infer.device, threads=settings.infer.threads)


def _run_of(out: Path, asked: _Asked, subject: str, segmenter: Segmenter | None = None, values: str = "") -> Run:
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
        asked.settings,
        recorded["started_at"],
        use_given_region=asked.use_given_region,
        segmenter=segmenter,
        values=values,
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
