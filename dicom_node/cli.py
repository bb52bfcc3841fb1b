"""The command line: thin commands over importable functions; nothing heavy is imported at the top.

Exit codes: 0 done, 2 wrong usage, 3 refused with a reason, 4 failed.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from rich.text import Text

from dicom_node import NODE_VERSION

DONE, USAGE, REFUSED, FAILED = 0, 2, 3, 4

app = typer.Typer(
    name="petct-node",
    help="PET/CT AI node: series in by C-STORE, SUV, lesions, a 3D network, DICOM results out. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train_app = typer.Typer(help="Train the models that the node serves.", no_args_is_help=True)
app.add_typer(train_app, name="train")

out = Console()
err = Console(stderr=True)


def _address(value: str) -> str:
    from dicom_node.commands.send import parse_address
    from inference.facts import Refused

    try:
        parse_address(value)
    except Refused as refused:
        raise typer.BadParameter(refused.reason) from None
    return value


def _ae_title(value: str) -> str:
    from dicom_node.config import valid_ae_title

    try:
        return valid_ae_title(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


JsonFlag = Annotated[bool, typer.Option("--json", help="Print one JSON object for machines.")]
OverwriteFlag = Annotated[bool, typer.Option("--overwrite", help="Replace the bundle in the folder.")]
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help="TOML configuration file.")]


def print_json(value: object) -> None:
    """One JSON document on standard output; NaN never."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False, default=str) + "\n")


@contextmanager
def answers() -> Iterator[None]:
    """Turn what the user can mend into a sentence and an exit code; a traceback is for faults of the program."""
    from dicom_node.config import ConfigError
    from inference.facts import Refused

    try:
        yield
    except ConfigError as error:
        _complain("", str(error))
        raise typer.Exit(USAGE) from None
    except Refused as refused:
        _complain("refused", f" ({refused.code}): {refused.reason}")
        raise typer.Exit(REFUSED) from None
    except KeyboardInterrupt:
        err.print("stopped")
        raise typer.Exit(FAILED) from None
    except (typer.Exit, typer.BadParameter, BrokenPipeError):
        raise
    except OSError as error:  # a disk that is full, a file without rights
        _complain("failed", f": {error}")
        raise typer.Exit(FAILED) from None
    except Exception:  # noqa: BLE001 - a fault of the program: whoever mends it needs the traceback
        traceback.print_exc()
        raise typer.Exit(FAILED) from None


def _complain(word: str, text: str) -> None:
    """On standard error, as it is: a path may hold what looks like Rich's markup."""
    err.print(Text.assemble((word, "red"), text), soft_wrap=True)


def _version(asked: bool) -> None:
    if asked:
        out.print(f"petct-node {NODE_VERSION}", highlight=False)
        raise typer.Exit


@app.callback()
def _top(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


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
    peer: Annotated[str, typer.Argument(metavar="HOST:PORT", callback=_address)],
    called: Annotated[str, typer.Option(help="The peer's AE title.", callback=_ae_title)] = "PETCTNODE",
    calling: Annotated[str, typer.Option(help="Our AE title.", callback=_ae_title)] = "PETCTSEND",
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
def analyse(
    folder: Annotated[Path, typer.Argument(exists=True, help="The study's folder.")],
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for the result files.")],
    bundle: Annotated[str, typer.Option(help="A bundle's name or folder.")] = "demo",
    region: Annotated[
        Literal["given", "automatic"], typer.Option(help="given: a human's RTSTRUCT or SEG, if there is one.")
    ] = "given",
    config: ConfigFile = None,
    json_: JsonFlag = False,
    debug: Annotated[bool, typer.Option(help="Show the traceback of an unexpected failure.")] = False,
) -> None:
    """Analyse one study from a folder and write its results as DICOM files."""
    with answers():
        from dicom_node.commands.offline import analyse_folder
        from dicom_node.config import read_settings

        settings = read_settings(config)
        with err.status("analysing"):
            answer = analyse_folder(
                folder, out_dir, settings, bundle=bundle, use_given_region=region == "given", debug=debug
            )
        print_json(answer) if json_ else _print_analysis(answer)
        raise typer.Exit({"done": DONE, "refused": REFUSED}.get(answer["status"], FAILED))


@app.command()
def suv(
    folder: Annotated[Path, typer.Argument(exists=True, help="A folder with one PET series (more: --series).")],
    mask: Annotated[
        Path | None, typer.Option(exists=True, dir_okay=False, help="Statistics inside it: NIfTI, RTSTRUCT or SEG.")
    ] = None,
    series: Annotated[str | None, typer.Option(help="Series Instance UID, where the folder has several.")] = None,
    json_: JsonFlag = False,
) -> None:
    """How the PET series becomes SUVbw, and why; with --mask, SUV statistics inside it."""
    with answers():
        from dicom_node.commands.offline import suv_folder

        answer = suv_folder(folder, mask=mask, series=series)
        print_json(answer) if json_ else _print_fields(answer)


@app.command()
def report(
    files: Annotated[list[Path], typer.Argument(exists=True, help="Result files of petct-node, or folders of them.")],
    json_: JsonFlag = False,
) -> None:
    """Print our results, read from the DICOM alone."""
    with answers():
        from dicom_node.report import summarise
        from dicom_node.report.text import print_summaries

        summaries = summarise(files)
        print_json([asdict(s) for s in summaries]) if json_ else print_summaries(summaries, out)


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


@train_app.command("demo")
def train_demo(
    out_dir: Annotated[Path, typer.Option("--out", help="Folder of the new bundle.")],
    seed: Annotated[
        int | None, typer.Option(help="Seed of cohort and networks (default: the shipped model's).")
    ] = None,
    overwrite: OverwriteFlag = False,
    json_: JsonFlag = False,
) -> None:
    """Train the demonstration model on phantoms (says nothing about patients)."""
    with answers():
        from training.recipes.demo import train_demo as train

        _keep(out_dir, overwrite)
        with err.status("starting") as status:

            def progress(stage: str) -> None:
                status.update(stage)
                err.log(stage)

            trained = (
                train(out_dir, progress=progress) if seed is None else train(out_dir, seed=seed, progress=progress)
            )
        answer = asdict(trained) | {"near_optimum": trained.near_optimum}
        print_json(answer) if json_ else _print_fields(answer)
        if not trained.near_optimum:
            err.print("[red]the model did not come near the best that the phantom allows[/red]")
            raise typer.Exit(FAILED)


@train_app.command("bench")
def train_bench(
    out_dir: Annotated[
        Path | None, typer.Option("--out", help="Folder of the new bundle (default: where --bundle bench finds it).")
    ] = None,
    overwrite: OverwriteFlag = False,
    config: ConfigFile = None,
) -> None:
    """Write the benchmark's bundle: ResNet-18 on 96³, random weights of seed 0 (means nothing)."""
    with answers():
        from dicom_node.config import read_settings
        from training.recipes.bench import NAME, write_bench_bundle

        folder = out_dir or read_settings(config).bundles_dir / NAME
        _keep(folder, overwrite)
        out.print(f"{folder}: {write_bench_bundle(folder)}", highlight=False, soft_wrap=True)


def _keep(folder: Path, overwrite: bool) -> None:
    """An existing bundle is replaced only when asked; what is no bundle never is (``save_bundle``)."""
    if (folder / "manifest.json").is_file() and not overwrite:
        raise typer.BadParameter(f"{folder} holds a bundle; name a new folder, or --overwrite it", param_hint="--out")


def _print_fields(answer: dict[str, Any]) -> None:
    """An answer for people, one line a field."""
    from rich.table import Table

    table = Table(show_header=False, box=None, pad_edge=False)
    for key, value in answer.items():
        table.add_row(Text(key, "bold"), Text(_in_words(value)))
    out.print(table)


def _in_words(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.9g}"
    if isinstance(value, dict) and set(value) == {"code", "text"}:
        return f"({value['code']}) {value['text']}"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_in_words(item)}" for key, item in value.items())
    if isinstance(value, list) and len(value) > 1 and len(set(map(str, value))) == 1:
        return f"{_in_words(value[0])} (all {len(value)})"
    if isinstance(value, list):
        return (", " if isinstance(value[0], float) else "\n").join(map(_in_words, value)) if value else "none"
    return str(value)


def _print_analysis(answer: dict[str, Any]) -> None:
    from dicom_node.commands.offline import print_analysis

    print_analysis(answer, out)


def main() -> None:
    """Entry point of `petct-node`."""
    app()
