"""Commands about one study in a folder, without a node."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dicom_node.cli.shared import (
    DONE,
    FAILED,
    REFUSED,
    ConfigFile,
    JsonFlag,
    answers,
    app,
    err,
    maybe_ae_title,
    out,
    print_fields,
    print_json,
)


@app.command()
def analyse(
    folder: Annotated[Path, typer.Argument(exists=True, help="The study's folder.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the result files.")],
    bundle: Annotated[
        str | None,
        typer.Option(help="A bundle's name or folder; without it the routing rules choose, or infer.bundle(s)."),
    ] = None,
    aet: Annotated[
        str | None, typer.Option(help="The sender's AE title, for rules that ask for it.", callback=maybe_ae_title)
    ] = None,
    region: Annotated[
        Literal["given", "automatic"], typer.Option(help="given: a human's RTSTRUCT or SEG, if there is one.")
    ] = "given",
    segmenter: Annotated[
        str | None, typer.Option(help="Name of an installed segmenter; overrides infer.segmenter.")
    ] = None,
    values: Annotated[
        Path | None,
        typer.Option(
            exists=True, dir_okay=False, help="CSV or JSON of clinical and laboratory values; overrides values.table."
        ),
    ] = None,
    config: ConfigFile = None,
    json_: JsonFlag = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an unexpected failure.")] = False,
) -> None:
    """Analyse one study from a folder and write its results as DICOM files, a set for each model that looks at it."""
    with answers():
        from dicom_node.commands.offline import analyse_folder
        from dicom_node.config import read_settings

        settings = read_settings(config)
        if segmenter is not None:
            infer = settings.infer.model_copy(update={"segmenter": segmenter})
            settings = settings.model_copy(update={"infer": infer})
        with err.status("analysing"):
            answer = analyse_folder(
                folder,
                out_dir,
                settings,
                bundle=bundle,
                calling_ae_title=aet or "",
                use_given_region=region == "given",
                values=values,
                debug=debug,
            )
        print_json(answer) if json_ else _print_analysis(answer)
        codes = [{"done": DONE, "refused": REFUSED}.get(a["status"], FAILED) for a in (answer, *answer["further"])]
        raise typer.Exit(max(codes))


@app.command()
def route(
    folder: Annotated[Path, typer.Argument(exists=True, help="The study's folder.")],
    aet: Annotated[
        str | None, typer.Option(help="The sender's AE title, for rules that ask for it.", callback=maybe_ae_title)
    ] = None,
    config: ConfigFile = None,
    json_: JsonFlag = False,
) -> None:
    """What the node would do with a study, and why: series, tracer, rules, models.  Nothing is written."""
    with answers():
        from dicom_node.commands.route import WOULD_RUN, print_route, route_folder
        from dicom_node.config import read_settings

        answer = route_folder(folder, read_settings(config), calling_ae_title=aet or "")
        print_json(answer) if json_ else print_route(answer, out)
        raise typer.Exit(DONE if answer["status"] == WOULD_RUN else REFUSED)


@app.command()
def suv(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder with one PET series (more: --series).")],
    mask: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Statistics inside it: NIfTI, RTSTRUCT or SEG.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series Instance UID, where the folder has several.")] = None,
    type_: Annotated[
        Literal["bw", "lbm-janma", "lbm-james", "bsa", "ibw"],
        typer.Option("--type", help="Normalised to body weight, lean body mass, body surface or ideal weight."),
    ] = "bw",
    json_: JsonFlag = False,
) -> None:
    """How the PET series becomes SUV, and why; with --mask, SUV statistics inside it."""
    with answers():
        from dicom_node.commands.suv import suv_folder

        answer = suv_folder(folder, mask=mask, series=series, suv_type=type_)
        print_json(answer) if json_ else print_fields(answer)


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(exists=True, help="Result files of petct-node, or folders of them.")],
    patient: Annotated[bool, typer.Option("--patient", help="Print whose results they are, too.")] = False,
    json_: JsonFlag = False,
) -> None:
    """Print our results, read from the DICOM alone.  Without --patient nothing names the patient."""
    with answers():
        from dicom_node.report import summarise
        from dicom_node.report.readback.text import print_summaries

        summaries = summarise(files, patient=patient)
        print_json([asdict(s) for s in summaries]) if json_ else print_summaries(summaries, out)


def _print_analysis(answer: dict[str, Any]) -> None:
    from dicom_node.commands.analysis_text import print_analysis

    print_analysis(answer, out)
