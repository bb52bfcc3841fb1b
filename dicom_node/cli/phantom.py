"""`petct-node phantom RECIPE`: a simulated cohort with a known optimum, to train and test a recipe on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dicom_node.cli.progress import bar, interruptible
from dicom_node.cli.shared import RESEARCHERS, STOPPED, JsonFlag, answers, app, err, print_fields, print_json


def _numbers(values: list[str] | None) -> dict[str, int] | None:
    """KIND=N of each; None where the option is not given."""
    found = {}
    for value in values or ():
        kind, _, number = value.partition("=")
        if not number.isdecimal():
            raise typer.BadParameter(f"{value}: write KIND=N, as in in-domain=100", param_hint="--unlabelled")
        found[kind] = int(number)
    return found if values else None


@app.command("phantom", rich_help_panel=RESEARCHERS)
def phantom(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE", help="ussl, dlr, cpc, dfsigm or prrt_pfs.")],
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder; a stopped call goes on there.")],
    subjects: Annotated[
        int | None, typer.Option(min=1, help="Labelled subjects (default: the paper's number).")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Other seeds, other subjects.")] = 0,
    size: Annotated[str, typer.Option(help="reduced (quick) or full.")] = "reduced",
    unlabelled: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=N",
            help="Unlabelled subjects: in-domain, other-scanner, other-tracer, wrong-organ, noise; may be repeated.",
        ),
    ] = None,
    label_model: Annotated[str | None, typer.Option(help="clustered or continuous (ussl).")] = None,
    flip_labels: Annotated[float, typer.Option(help="Share of the training labels that are wrong.")] = 0.0,
    image_outliers: Annotated[float, typer.Option(help="Share of the training images that are spoilt.")] = 0.0,
    leak: Annotated[bool, typer.Option("--leak", help="The centre follows the label: a trap to be found.")] = False,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Subjects at a time.")] = 1,
    json_: JsonFlag = False,
) -> None:
    """Write a simulated cohort with a known optimum: table, volumes and truth (says nothing about patients)."""
    with answers():
        from training.phantom.settings import PhantomSettings, label_model_named
        from training.phantom.write import write_cohort
        from training.recipe import Stopped

        settings = PhantomSettings(
            preset=recipe,
            subjects=subjects,
            seed=seed,
            size=size,  # type: ignore[arg-type] # checked there
            unlabelled=_numbers(unlabelled),
            label_model=label_model_named(label_model),
            leak=leak,
            flip_labels=flip_labels,
            image_outliers=image_outliers,
        )
        asked: list[bool] = []
        with bar() as tell, interruptible(lambda: asked.append(True), "stopping after this subject …"):
            try:
                written = write_cohort(out_dir, settings, processes=processes, tell=tell, stop=lambda: bool(asked))
            except Stopped:
                err.print("stopped; the same command goes on from here")
                raise typer.Exit(STOPPED) from None
        answer: dict[str, Any] = {
            "table": str(written.table),
            "subjects": written.subjects,
            "labelled": written.labelled,
            "positives": written.positives,
            "unlabelled": written.unlabelled,
            "bayes_auc": {name: round(value, 4) for name, value in written.bayes_auc.items()},
        }
        print_json(answer) if json_ else print_fields(answer)
