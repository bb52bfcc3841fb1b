"""`petct-node route`: what the node would do with the study in a folder, and why; nothing is written or analysed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from dicom_node.assemble.routing import Router, seen_of
from dicom_node.commands.analysis_json import describe_series
from dicom_node.commands.study_folder import one_study, pairs_of
from dicom_node.config import Settings
from dicom_node.contracts import Contracts
from dicom_node.errors import row
from inference.facts import Instance, Pair, Refused
from inference.model.contract import Subject, breaches, subject_of
from inference.reading.instance import scan_folder
from inference.suv.tracer import tracer_cautions

WOULD_RUN, NO_RULE, REFUSED = "would-run", "no-rule", "refused"


def route_folder(folder: Path, settings: Settings, *, calling_ae_title: str = "") -> dict[str, Any]:
    """The object of `route --json`.

    ``status``: "would-run", "no-rule" (no rule matches), or "refused" with code, reason and what to do, as far as
    headers tell: pixels are not read.  ``rules``: each rule's answer.  ``models``: the bundles that would look at the
    pair, with ``admitted`` and ``reasons`` by their input contract.  ``further``: the same object for what else the
    study is looked at as (a CT alone beside a PET/CT, say).  Raises ``Refused`` as reading the folder does.
    """
    scan = scan_folder(folder)
    answer: dict[str, Any] = {"status": REFUSED, "reason_code": None, "reason": None, "advice": None}
    answer |= {"study_instance_uid": None, "kind": None, "pet": None, "ct": None, "region": None, "story": []}
    answer |= {"warnings": [], "suv": None, "tracer": None, "seen": None, "rules": [], "models": []}
    further: list[dict[str, Any]] = []
    try:
        instances = one_study(scan.instances, two_studies=settings.assemble.two_studies)
        answer["study_instance_uid"] = instances[0].study_instance_uid
        router = Router.of(settings, Contracts.read(settings))
        pairs = pairs_of(instances, scan, settings, router)
    except Refused as refused:
        _refuse(refused, answer)
        answer["story"] = _choices(refused)
    else:
        found = [_of_pair(pair, router, settings, calling_ae_title, dict(answer)) for pair in pairs]
        found.sort(key=lambda one: one["status"] != WOULD_RUN)  # else a kind that no rule wants would stand for all
        answer, *further = found
    return answer | {"further": further}


def _of_pair(
    pair: Pair, router: Router, settings: Settings, calling_ae_title: str, answer: dict[str, Any]
) -> dict[str, Any]:
    _describe(pair, router, settings, calling_ae_title, answer)
    if answer["status"] == WOULD_RUN:
        _foretell(pair, answer)
    return answer


def _refuse(refused: Refused, answer: dict[str, Any]) -> None:
    answer |= {"status": REFUSED, "reason_code": refused.code, "reason": refused.reason}
    answer["advice"] = row(refused.code).advice


def _foretell(pair: Pair, answer: dict[str, Any]) -> None:
    """What the analysis would say before it reads a pixel."""
    from inference.analyse import region_needed, stacks
    from inference.suv.rule import suv_rule

    try:
        if pair.pet is None and pair.region is None:
            raise region_needed(pair.kind)
        pet, ct = stacks(pair)
        rule = suv_rule(pet.instances) if pet else None
    except Refused as refused:
        answer["models"] = []
        return _refuse(refused, answer)
    answer["suv"] = {"rule": rule.rule, "reference_time": rule.reference_time} if rule else None
    cautions = (*(pet.cautions if pet else ()), *ct.cautions, *(rule.cautions if rule else ()))
    told = [asdict(c) for c in dict.fromkeys(cautions)]
    answer["warnings"] += [caution for caution in told if caution not in answer["warnings"]]
    return None


def _describe(pair: Pair, router: Router, settings: Settings, calling_ae_title: str, answer: dict[str, Any]) -> None:
    senders = [(calling_ae_title, "")] if calling_ae_title else []
    subject, seen = subject_of(pair), seen_of(pair, senders)
    cautions = (*pair.cautions, *(tracer_cautions(pair.pet.instances) if pair.pet else ()))
    names = router.models(pair, senders).bundles
    answer |= {
        "status": WOULD_RUN if names else NO_RULE,
        "study_instance_uid": pair.reference.study_instance_uid,
        "kind": pair.kind,
        "pet": describe_series(pair.pet) if pair.pet else None,
        "ct": describe_series(pair.ct),
        "region": _region(pair.region),
        "story": list(pair.story),
        "warnings": [asdict(c) for c in cautions],
        "tracer": asdict(subject.tracer),
        "seen": {key: list(values) for key, values in seen.texts.items()} | dict(seen.numbers),
        "rules": [asdict(a) for a in router.assignments(pair, senders)],
        "models": [_model(name, settings, subject) for name in names],
    }


def _model(name: str, settings: Settings, subject: Subject) -> dict[str, Any]:
    """Whether the bundle's contract admits the subject; a bundle that cannot be used is said, not raised."""
    from inference.model.bundle import find_bundle, load_bundle

    try:
        bundle = load_bundle(find_bundle(name, search=[settings.bundles_dir]))
    except Refused as refused:
        reasons = [f"{refused.code}: {refused.reason}"]
        return {"bundle": name, "name": None, "version": None, "digest": None, "admitted": False, "reasons": reasons}
    reasons = list(breaches(bundle.served, subject))
    which = {"name": bundle.served.name, "version": bundle.served.version, "digest": bundle.digest}
    return {"bundle": name} | which | {"admitted": not reasons, "reasons": reasons}


def _region(region: Instance | None) -> dict[str, Any] | None:
    if region is None:
        return None
    return {"sop_instance_uid": region.sop_instance_uid, "modality": region.modality}


def _choices(refused: Refused) -> list[str]:
    choices = refused.facts.get("choices", ())
    return [c.sentence for c in choices] if isinstance(choices, Sequence) else []


def print_route(answer: dict[str, Any], console: Console) -> None:
    """`route` for people."""

    def say(text: str, style: str = "") -> None:
        console.print(Text(text, style), soft_wrap=True)

    for one in (answer, *answer["further"]):
        _say_one(one, say)


def _say_one(answer: dict[str, Any], say: Callable[..., None]) -> None:
    if answer["study_instance_uid"]:
        say(f"study {answer['study_instance_uid']}", "bold")
    for sentence in answer["story"]:
        say(f"  {sentence}")
    for caution in answer["warnings"]:
        say(f"  warning ({caution['code']}): {caution['text']}", "yellow")
    if answer["tracer"]:
        _say_rules(answer, say)
    if answer["status"] == REFUSED:
        say(f"refused ({answer['reason_code']}): {answer['reason']}", "red")
        say(f"  what to do: {answer['advice']}")
    elif answer["status"] == NO_RULE:
        say("no rule matches: the study would be stored, and no model would look at it", "red")


def _say_rules(answer: dict[str, Any], say: Callable[..., None]) -> None:
    tracer = answer["tracer"]
    text = f', the header says "{tracer["text"]}"' if tracer["text"] else ""
    if answer["pet"]:
        say(f"tracer: {tracer['name'] or 'not known'} ({tracer['nuclide'] or 'nuclide not known'}{text})")
    for rule in answer["rules"]:
        say(f"  {'+' if rule['matched'] else '-'} {rule['why']}", "" if rule["matched"] else "dim")
    if answer["suv"]:
        say(f"SUV: {answer['suv']['rule']}")
    for model in answer["models"]:
        if model["name"] is None:
            say(f"cannot run {model['bundle']}: {'; '.join(model['reasons'])}", "red")
            continue
        say(f"runs {model['bundle']} ({model['name']} {model['version']})", "green")
        for reason in model["reasons"]:
            say(f"  its probability would be withheld: {reason}", "yellow")
