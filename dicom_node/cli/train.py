"""Commands that train the models which the node serves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.progress import bar, interruptible
from dicom_node.cli.shared import (
    FAILED,
    STOPPED,
    ConfigFile,
    JsonFlag,
    OverwriteFlag,
    answers,
    err,
    out,
    print_fields,
    print_json,
    train_app,
)


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
        print_json(answer) if json_ else print_fields(answer)
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


@train_app.command("backbone")
def train_backbone(
    out_dir: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder of the weights.")],
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting; may be repeated.")
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of phantoms and network.")] = 0,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Phantoms at a time.")] = 1,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json_: JsonFlag = False,
) -> None:
    """Pretrain the image network of dlr and dfsigm on phantoms, where no ImageNet weights are at hand."""
    with answers():
        from training.recipe import Conditions, Stopped
        from training.recipes.backbone import BackboneSettings
        from training.recipes.backbone import train_backbone as train
        from training.run.start import read_settings

        settings = BackboneSettings.model_validate(read_settings(BackboneSettings, None, set_ or []))
        asked: list[bool] = []
        with bar() as tell, interruptible(lambda: asked.append(True), "stopping; nothing is kept …"):
            conditions = Conditions(seed, out_dir, device, tell=tell, stop=lambda: bool(asked))
            try:
                report = train(out_dir, settings, conditions, processes=processes)
            except Stopped:
                err.print("stopped; the same command begins again")
                raise typer.Exit(STOPPED) from None
        answer = asdict(report) | {"file": str(report.file)}
        print_json(answer) if json_ else print_fields(answer)


def _keep(folder: Path, overwrite: bool) -> None:
    """An existing bundle is replaced only when asked; what is no bundle never is (``save_bundle``)."""
    if (folder / "manifest.json").is_file() and not overwrite:
        raise typer.BadParameter(f"{folder} holds a bundle; name a new folder, or --overwrite it", param_hint="--out")
