"""What a bundle says to people of the model in it: one line for reports, and the model card."""

from __future__ import annotations

from pydantic import BaseModel

from inference.model.served import Evaluation
from training.recipe import Release

PHANTOMS_ONLY = "demonstration model: trained on phantoms, says nothing about patients"


def statement(title: str, release: Release) -> str:
    """The sentence that stands on every report (methods D9)."""
    if release.demonstration:
        return PHANTOMS_ONLY
    return f"{title}: research use only, not validated for clinical decisions"


def model_card(title: str, source: str, variant: str, settings: BaseModel, release: Release) -> str:
    """Markdown.  What is the paper's, what is ours, stands in the settings' descriptions."""
    lines = [
        f"# {release.name} {release.version}: {title}",
        "",
        f"**{statement(title, release)}.**",
        "",
        f"- Model: {variant}.  After {source}; the settings below are ours where the paper does not give them.",
        *_tested(release),
        "",
        "| Setting | Value | Reason |",
        "|---|---|---|",
    ]
    for name, field in type(settings).model_fields.items():
        lines.append(f"| {name} | {getattr(settings, name)} | {field.description or ''} |")
    return "\n".join([*lines, "", release.card]).rstrip() + "\n"


def _tested(release: Release) -> list[str]:
    if release.evaluation is None:
        return ["- Nothing was held out to test it."]
    found = Evaluation.model_validate(release.evaluation)
    low, high = found.auc_interval
    return [f"- On {found.subjects} {found.data}: AUC {found.auc:.3f} ({low:.3f} to {high:.3f})."]
