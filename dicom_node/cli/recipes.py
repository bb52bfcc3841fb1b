"""`petct-node train RECIPE`: one command for each system, all alike."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicom_node.cli.progress import bar, interruptible
from dicom_node.cli.shared import STOPPED, JsonFlag, answers, err, print_fields, print_json, train_app

if TYPE_CHECKING:
    from training.record import RunRecord

SYSTEMS = {
    "ussl": "USSL (reconstruction): PD-L1 in lung cancer from PET/CT, labelled and unlabelled studies.",
    "dlr": "Deep-learning radiomics: PD-L1 in lung cancer from CT.",
    "cpc": "PET/CT and clinical data: PD-L1 in oesophageal cancer.",
    "dfsigm": "Iodine maps: PD-L1 in gastric cancer.",
    "prrt_pfs": "Progression-free survival after PRRT (neuroendocrine tumours), SSTR PET/CT and laboratory values.",
}

CohortOption = Annotated[Path, typer.Option("--cohort", metavar="FILE", help="Table of the cohort (CSV or XLSX).")]
OutOption = Annotated[
    Path, typer.Option("--out", metavar="DIR", help="Folder of the run; a stopped run goes on there.")
]
SettingsOption = Annotated[
    Path | None, typer.Option("--settings", metavar="FILE", help="TOML file with settings of the recipe.")
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="One setting of the recipe; may be repeated.")
]
VariantOption = Annotated[
    list[str] | None,
    typer.Option("--variant", help="Only this variant; may be repeated (the first that can be is served)."),
]


def _register(name: str, text: str) -> None:
    @train_app.command(name, help=f"{text} Research use only.")
    def train(
        cohort: CohortOption,
        out_dir: OutOption,
        settings: SettingsOption = None,
        set_: SetOption = None,
        variant: VariantOption = None,
        folds: Annotated[int, typer.Option(min=2, max=20, help="Folds of the cross-validation.")] = 5,
        repeats: Annotated[int, typer.Option(min=1, max=100, help="How often it is repeated with other folds.")] = 1,
        permutations: Annotated[
            int, typer.Option(min=0, help="Cross-validations with permuted labels: what chance gives.")
        ] = 0,
        leave_centre_out: Annotated[
            bool, typer.Option("--leave-centre-out", help="Also test each centre by a model that saw none of it.")
        ] = False,
        seed: Annotated[int, typer.Option(help="Of folds and networks.")] = 0,
        jobs: Annotated[int, typer.Option(min=1, max=64, help="Fits at a time.")] = 1,
        device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
        skip_bad: Annotated[
            bool, typer.Option("--skip-bad", help="Leave unreadable studies out, and list them.")
        ] = False,
        json_: JsonFlag = False,
    ) -> None:
        from training.recipe import Stopped

        chosen = {
            "folds": folds,
            "repeats": repeats,
            "permutations": permutations,
            "leave_centre_out": leave_centre_out,
            "seed": seed,
            "jobs": jobs,
            "device": device,
            "variants": tuple(variant or ()),
        }
        with answers():
            try:
                record = _train(name, cohort, out_dir, settings, set_ or [], chosen, skip_bad)
            except Stopped:
                err.print(f"stopped; all that was done is saved. Go on with:  {_command()}", soft_wrap=True)
                raise typer.Exit(STOPPED) from None
            answer = _answer(record, out_dir)
            print_json(answer) if json_ else print_fields(answer)


for _name, _text in SYSTEMS.items():
    _register(_name, _text)


def _train(
    name: str, table: Path, folder: Path, file: Path | None, given: list[str], chosen: dict[str, Any], skip_bad: bool
) -> RunRecord:
    from training.run.environment import refuse_without_packages
    from training.run.start import start

    refuse_without_packages()
    folder.mkdir(parents=True, exist_ok=True)
    ask = (folder / "stop").touch
    with bar() as tell, interruptible(ask, "saving, then stopping; press Ctrl-C again to end at once"):
        return start(
            name,
            table,
            folder,
            settings_file=file,
            settings_given=given,
            options=chosen,
            skip_bad=skip_bad,
            command=_command(),
            tell=tell,
        )


def _command() -> str:
    """The command as it was given."""
    import shlex

    return shlex.join(["petct-node", *sys.argv[1:]])


def _answer(record: RunRecord, folder: Path) -> dict[str, Any]:
    """``bundle``: None where no variant of the run can be served; then ``why_no_bundle`` says so."""
    served = bool(record.bundle_digest)
    return {
        "recipe": record.title,
        "subjects": record.subjects,
        "left_out": len(record.left_out),
        "bundle": str(folder / "bundle") if served else None,
        **({} if served else {"why_no_bundle": record.facts.get(f"{record.variants[0]}, bundle")}),
        "digest": record.bundle_digest or None,
        "report": str(folder / "report.html"),
        "seconds": record.seconds,
        "peak_memory_mb": record.peak_memory_mb,
    }
