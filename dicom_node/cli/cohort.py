"""Commands about a cohort: the table of studies that models are trained from."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dicom_node.cli.progress import bar
from dicom_node.cli.shared import DONE, REFUSED, RESEARCHERS, JsonFlag, answers, app, out, print_json

if TYPE_CHECKING:
    from training.cohort.check import CohortCheck

cohort_app = typer.Typer(help="The table of studies that models are trained from.", no_args_is_help=True)
app.add_typer(cohort_app, name="cohort", rich_help_panel=RESEARCHERS)


@cohort_app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Table of the cohort (CSV or XLSX).")],
    recipe: Annotated[str | None, typer.Option(help="Check it for this recipe: its images, its values.")] = None,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Read every image (takes a while), or the table alone.")
    ] = True,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Studies read at a time.")] = 1,
    json_: JsonFlag = False,
) -> None:
    """Look a cohort over: rows, centres, missing values, images, leaks.  Exit code 3: it cannot be trained from."""
    with answers():
        from training.cohort.check import check_cohort
        from training.recipes import recipe as recipe_named
        from training.run.environment import refuse_without_packages

        refuse_without_packages()
        chosen = None if recipe is None else recipe_named(recipe)
        with bar() as tell:
            found = check_cohort(file, chosen, read_images=images, processes=processes, tell=tell)
        if json_:
            print_json(asdict(found) | {"errors": len(found.errors)})
        else:
            _print(found)
        raise typer.Exit(REFUSED if found.errors else DONE)


def _print(found: CohortCheck) -> None:
    from rich.table import Table
    from rich.text import Text

    if found.rows:
        _print_counts(found)
    if found.columns:
        table = Table("value", "unit", "kind", "missing", "used", title="values", title_justify="left", box=None)
        for c in found.columns:
            used = "" if c.used is None else "yes" if c.used else "no"
            table.add_row(Text(c.name), Text(c.unit), c.kind, f"{c.missing} of {found.labelled}", used)
        out.print(table, "")
    told = {finding.column for finding in found.findings}
    for header, why in found.set_aside.items():
        if header not in told:
            out.print(Text(f"not offered to models: {header}: {why}"), soft_wrap=True)
    for finding in found.findings:
        style = "red" if finding.level == "error" else "yellow"
        out.print(Text.assemble((finding.level, style), f"  {finding}"), soft_wrap=True)
    errors, warnings = len(found.errors), len(found.findings) - len(found.errors)
    out.print(f"{errors} error(s), {warnings} warning(s)", highlight=False)


def _print_counts(found: CohortCheck) -> None:
    from rich.table import Table
    from rich.text import Text

    facts = Table(show_header=False, box=None, pad_edge=False)
    prevalence = "" if found.prevalence is None else f", {found.prevalence:.1%} positive"
    facts.add_row("rows", f"{found.rows} of {found.patients} patients")
    facts.add_row("labelled", f"{found.labelled}{prevalence}; {found.unlabelled} without a label in use")
    facts.add_row("sets", ", ".join(f"{name} {count}" for name, count in found.sets.items()))
    for kind in found.images:
        read = "" if kind.readable is None else f", {kind.readable} can be read"
        facts.add_row(kind.kind, f"{kind.named} rows{read}")
    if found.regions:
        facts.add_row("regions", ", ".join(f"{name} {count}" for name, count in found.regions.items()))
    if found.not_there:
        facts.add_row("not there", f"{', '.join(found.not_there)} (the recipe does without)")
    facts.add_row("digest of the table", found.digest[:16])
    centres = Table("centre", "rows", "positive", "negative", title="centres", title_justify="left", box=None)
    for centre in found.centres:
        centres.add_row(Text(centre.name or "(no name)"), str(centre.rows), str(centre.positive), str(centre.negative))
    out.print(facts, "", centres, "")
