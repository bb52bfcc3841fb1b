"""Commands about the node: run it, look at it, send to it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from dicom_node.cli.shared import (
    DONE,
    FAILED,
    ConfigFile,
    JsonFlag,
    address,
    ae_title,
    answers,
    app,
    out,
    print_json,
    short_text,
)


@app.command()
def serve(
    config: ConfigFile = None,
    role: Annotated[
        Literal["all", "receive", "decode", "coordinate", "work"], typer.Option(help="Which processes run here.")
    ] = "all",
) -> None:
    """Run the node: receivers, coordinator and workers."""
    with answers():
        from dicom_node.config import read_settings
        from dicom_node.node import serve as run_node

        raise typer.Exit(run_node(read_settings(config), role=role))


@app.command()
def demo(
    study: Annotated[Path | None, typer.Option(help="Your own study's folder; without it a phantom is made.")] = None,
    keep: Annotated[bool, typer.Option(help="Leave Orthanc and the node running until Ctrl-C.")] = False,
    out_dir: Annotated[Path | None, typer.Option("--out", help="Folder of the run (default: demo-run/TIME).")] = None,
    json_: JsonFlag = False,
) -> None:
    """The main job once: a study goes in by C-STORE, its report comes out in an Orthanc of its own."""
    with answers():
        from dicom_node.demo.main_job import run_demo

        raise typer.Exit(run_demo(study=study, keep=keep, out=out_dir, as_json=json_))


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder (or one file) of DICOM.")],
    peer: Annotated[str, typer.Argument(metavar="HOST:PORT", callback=address)],
    called: Annotated[str, typer.Option(help="The peer's AE title.", callback=ae_title)] = "PETCTNODE",
    calling: Annotated[str, typer.Option(help="Our AE title.", callback=ae_title)] = "PETCTSEND",
    associations: Annotated[int, typer.Option(min=1, max=16, help="Send over so many at once.")] = 1,
    json_: JsonFlag = False,
) -> None:
    """Send a folder by C-STORE, with progress."""
    with answers():
        from dicom_node.commands.send import send_command

        raise typer.Exit(
            send_command(folder, peer, called_aet=called, calling_aet=calling, associations=associations, as_json=json_)
        )


@app.command()
def explain(
    study: Annotated[
        str | None, typer.Argument(metavar="STUDY_UID", help="Study Instance UID; without it the latest are listed.")
    ] = None,
    config: ConfigFile = None,
    json_: JsonFlag = False,
) -> None:
    """The whole story of a study: what came, what was chosen, waited for, run, written, delivered, and why."""
    with answers():
        from dicom_node.commands.explain import explain_study, list_studies
        from dicom_node.commands.explain_text import print_story, print_studies
        from dicom_node.config import read_settings

        settings = read_settings(config)
        if study is None:
            studies = list_studies(settings)
            print_json(studies) if json_ else print_studies(studies, out)
        else:
            story = explain_study(study.strip(), settings)
            print_json(story) if json_ else print_story(story, out)


@app.command()
def again(
    studies: Annotated[list[str], typer.Argument(metavar="STUDY_UID...", help="Study Instance UIDs.")],
    because: Annotated[
        str, typer.Option(help="Your reason; it stands in the report, so no patient data.", callback=short_text)
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Even where the results would come out alike.")] = False,
    wait: Annotated[float, typer.Option(min=0, max=3600, help="Wait so many seconds for the node's answer.")] = 10.0,
    config: ConfigFile = None,
    json_: JsonFlag = False,
) -> None:
    """Have the node analyse stored studies again, with a newer model, say; the new report names the one it replaces."""
    with answers():
        from dicom_node.commands.again import ask_again
        from dicom_node.commands.explain_text import print_requests
        from dicom_node.config import read_settings

        asked = ask_again(
            [study.strip() for study in studies], read_settings(config), because, force=force, wait_s=wait
        )
        print_json(asked) if json_ else print_requests(asked, out)


@app.command()
def doctor(config: ConfigFile = None, json_: JsonFlag = False) -> None:
    """Check what this machine has (packages, GPU, codecs, disk, ports, Orthanc) and say what to do."""
    with answers():
        from dicom_node.commands.doctor import examine, print_findings
        from dicom_node.config import read_settings

        findings = examine(read_settings(config))
        print_json([f.as_json() for f in findings]) if json_ else print_findings(findings, out)
        raise typer.Exit(FAILED if any(f.state == "fault" for f in findings) else DONE)


@app.command("config")
def config_(config: ConfigFile = None, json_: JsonFlag = False) -> None:
    """Print the effective configuration with comments, secrets masked."""
    with answers():
        from dicom_node.commands.config_text import as_json, as_toml
        from dicom_node.config import read_settings

        settings = read_settings(config)
        print_json(as_json(settings)) if json_ else sys.stdout.write(as_toml(settings))
