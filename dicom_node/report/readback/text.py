"""Our results for people, from what was read back out of the DICOM."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from dicom_node.report.readback.read import LesionSummary, PredictionSummary, ResultSummary

MEASURES = {
    "suv_max": "SUVmax",
    "suv_mean": "SUVmean",
    "suv_peak": "SUVpeak",
    "lbm-janma_max": "SULmax",
    "lbm-janma_peak": "SULpeak",
    "lbm-james_max": "SULmax (James)",
    "lbm-james_peak": "SULpeak (James)",
    "bsa_max": "SUVbsa max",
    "ibw_max": "SUVibw max",
    "volume_ml": "volume ml",
    "mtv_ml": "MTV ml",
    "tlg": "TLG g",
}


def print_summaries(summaries: Sequence[ResultSummary], console: Console) -> None:
    """The main report in words, then one line for each other object; what all say of the model is said once."""
    said = ""
    for summary in summaries:
        console.rule(f"{escape(summary.series_description)}  [dim]{summary.kind}[/dim]", align="left", style="dim")
        if summary.refusal_reason:
            console.print(
                f"[red]not analysed[/red] ({summary.refusal_code}): {escape(summary.refusal_reason)}", highlight=False
            )
        if summary.prediction is not None:
            console.print(prediction_line(summary.prediction), highlight=False)
        if summary.lesions:
            console.print(lesion_table(summary.lesions))
        for line in (summary.suv_rule, summary.content):
            if line:
                console.print(line, highlight=False, markup=False)
        for warning in summary.warnings:
            console.print(f"[yellow]warning:[/yellow] {escape(warning)}", highlight=False)
        model = ". ".join(part for part in (summary.model, summary.model_statement) if part)
        use = "[bold]Research use only.[/bold]" if summary.research_use_only else ""
        ending = "  ".join(part for part in (f"{escape(model)}." if model else "", use) if part)
        if ending and ending != said:
            console.print(ending, highlight=False)
        said = ending


def prediction_line(prediction: PredictionSummary) -> str:
    """Target, probability with its interval or why there is none, and applicability."""
    said = prediction.status
    if prediction.probability is not None:
        interval = "no interval: one member"
        if prediction.interval is not None:
            interval = f"95 % interval {prediction.interval[0]:.1%} to {prediction.interval[1]:.1%}"
        said = f"[bold]{prediction.probability:.1%}[/bold] ({interval}), {prediction.status}"
    reasons = f" ({escape('; '.join(prediction.applicability_reasons))})" if prediction.applicability_reasons else ""
    return f"{escape(prediction.name)}: {said}; applicability: {prediction.applicability}{reasons}"


def lesion_table(lesions: Sequence[LesionSummary]) -> Table:
    """One row a measurement group, with the columns that any of them has."""
    columns = {key: name for key, name in MEASURES.items() if any(key in lesion.measures for lesion in lesions)}
    table = Table(box=None, pad_edge=False)
    table.add_column("lesion")
    table.add_column("region from")
    for name in columns.values():
        table.add_column(name, justify="right")
    for lesion in lesions:
        values = (lesion.measures.get(key) for key in columns)
        table.add_row(
            escape(lesion.tracking_id), escape(lesion.source), *("" if v is None else f"{v:.2f}" for v in values)
        )
    return table
