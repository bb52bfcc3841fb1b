"""Commands that judge models: a bundle on a cohort it has not seen, and runs against each other."""

from __future__ import annotations

import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.progress import bar
from dicom_node.cli.shared import RESEARCHERS, ConfigFile, JsonFlag, answers, app, out, print_fields, print_json

if TYPE_CHECKING:
    from training.evaluate.compare import ComparedRuns


@app.command(rich_help_panel=RESEARCHERS)
def evaluate(
    bundle: Annotated[str, typer.Argument(metavar="BUNDLE", help="Folder or name of the bundle.")],
    cohort: Annotated[Path, typer.Option("--cohort", metavar="FILE", help="Table of the cohort (CSV or XLSX).")],
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the evaluation and its report.")],
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    processes: Annotated[int, typer.Option(min=1, max=64, help="Studies read at a time.")] = 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable studies out, and list them.")] = False,
    heatmaps: Annotated[bool, typer.Option("--heatmaps/--no-heatmaps", help="Check the heatmaps too.")] = True,
    json_: JsonFlag = False,
    config: ConfigFile = None,
) -> None:
    """Test a bundle on a cohort that it did not learn from, and write the report.  Research use only."""
    with answers():
        from dicom_node.config import read_settings
        from inference.model.bundle import find_bundle
        from training.report.write import write_report
        from training.run.environment import refuse_without_packages
        from training.run.served import evaluate_bundle

        refuse_without_packages()
        path = find_bundle(bundle, search=[read_settings(config).bundles_dir])
        with bar() as tell:
            record, data = evaluate_bundle(
                path,
                cohort,
                out_dir,
                skip_bad=skip_bad,
                device=device,
                processes=processes,
                heatmaps=heatmaps,
                command=shlex.join(["petct-node", *sys.argv[1:]]),
                tell=tell,
            )
            page = write_report(out_dir, cohort=data)
        answer: dict[str, Any] = {
            "bundle": record.settings["bundle"],
            "digest": record.bundle_digest,
            "subjects": record.subjects,
            "positives": record.positives,
            "left_out": len(record.left_out),
            **_main(out_dir),
            "report": str(page),
        }
        print_json(answer) if json_ else print_fields(answer)


@app.command(rich_help_panel=RESEARCHERS)
def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs on one cohort.")],
    variant: Annotated[str, typer.Option(help="Of each run (default: its first).")] = "",
    json_: JsonFlag = False,
) -> None:
    """Compare runs on the studies they have in common: AUC, and paired differences (DeLong, Holm)."""
    with answers():
        from training.evaluate.compare import compare_runs
        from training.run.environment import refuse_without_packages

        refuse_without_packages()
        found = compare_runs(runs, variant)
        print_json(asdict(found)) if json_ else _print(found)


def _main(folder: Path) -> dict[str, Any]:
    """AUC and interval of the first variant, from the report's numbers."""
    import json

    first = json.loads((folder / "report.json").read_text())["findings"]["performances"][0]
    return {"auc": first["auc"]["value"], "auc_interval": [first["auc"]["low"], first["auc"]["high"]]}


def _print(found: ComparedRuns) -> None:
    from rich.table import Table
    from rich.text import Text

    out.print(f"{found.kind}: {found.studies} common studies, {found.positives} positive", highlight=False)
    runs = Table("run", "variant", "repeats", "AUC (95 %)", box=None)
    for run in found.runs:
        auc = f"{run.auc.value:.3f} ({run.auc.low:.3f} to {run.auc.high:.3f})"
        runs.add_row(Text(run.run), Text(run.variant), str(run.repeats), auc)
    pairs = Table("difference", "AUC (95 %)", "p (DeLong)", "p (Holm)", box=None)
    for pair in found.pairs:
        d = pair.difference
        pairs.add_row(
            Text(f"{pair.one} - {pair.other}"),
            f"{d.value:+.3f} ({d.low:+.3f} to {d.high:+.3f})",
            f"{d.p:.3g}",
            f"{pair.holm_p:.3g}",
        )
    out.print(runs, "", pairs)
    for note in found.notes:
        out.print(Text(note, "yellow"), soft_wrap=True)
