"""`analyse` for people: the object of `analyse --json` in words."""

from __future__ import annotations

from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table


def print_analysis(answer: dict[str, Any], console: Console) -> None:
    """`analyse` for people; one model after the other."""
    looks = (answer, *answer["further"])
    for number, one in enumerate(looks, 1):
        if len(looks) > 1:
            console.rule(f"model {number} of {len(looks)}", align="left")
        _print_one(one, console)


def _print_one(answer: dict[str, Any], console: Console) -> None:
    if answer["status"] != "done":
        console.print(
            f"[red]{answer['status']}[/red] ({answer['reason_code']}): {escape(answer['reason'])}", highlight=False
        )
    else:
        _print_done(answer, console)
    for caution in answer["warnings"]:
        console.print(f"[yellow]warning[/yellow] ({caution['code']}): {escape(caution['text'])}", highlight=False)
    for kind, written in groupby(answer["results"], key=lambda result: result["kind"]):
        paths = [result["path"] for result in written]  # a series of single images takes one line
        files = paths[0] if len(paths) == 1 else f"{paths[0]} … {paths[-1]} ({len(paths)} files)"
        console.print(f"  {kind:14} {files}", highlight=False, markup=False, soft_wrap=True)


def _print_done(answer: dict[str, Any], console: Console) -> None:
    prediction, model = answer["prediction"], answer["model"]
    columns = {"lesion": "tracking_name", "source": "source"}
    if answer["suv"]:
        console.print(f"SUV: {answer['suv']['rule']}", highlight=False, markup=False)
        columns |= {"SUVmax": "suv_max", "SUVmean": "suv_mean"}
        columns |= {"SUVpeak": "suv_peak", "volume ml": "volume_ml", "MTV ml": "mtv_ml", "TLG g": "tlg"}
    else:
        console.print(f"{answer['kind']}, without PET", highlight=False, markup=False)
        columns |= {"volume ml": "volume_ml"}
        columns |= {"iodine mg/ml": "mean_iodine"} if answer["kind"] == "iodine map" else {"mean HU": "mean_hu"}
    table = Table(box=None, pad_edge=False)
    for heading in columns:
        table.add_column(heading, justify="left" if heading in ("lesion", "source") else "right")
    for lesion in answer["lesions"]:
        values = (lesion[key] for key in columns.values())
        table.add_row(*(v if isinstance(v, str) else f"{v:.2f}" for v in values))
    console.print(table if answer["lesions"] else "no lesion found")
    if missing := [value["title"] for value in answer["values"] if value["value"] is None]:
        console.print(f"values not given: {', '.join(missing)}", highlight=False, markup=False)
    if prediction["probability"] is None:
        console.print(f"{prediction['target']}: {prediction['status']}", highlight=False, markup=False)
        for reason in prediction["applicability_reasons"]:
            console.print(f"  {reason}", highlight=False, markup=False)
    else:
        # two decimals of a per cent first, as the SR holds them: every output then rounds alike
        said, *low_high = (
            f"{round(value, 4):.1%}" for value in (prediction["probability"], *(prediction["interval"] or ()))
        )
        interval = " to ".join(low_high) or "no interval: one member"
        text = f"{prediction['target']}: {said} ({interval}), "
        if prediction["applicability"] == "outside":
            text = f"The model does not apply to this study. Demonstration only, not a result: {text}"
        text += f"{prediction['status']}, applicability {prediction['applicability']}"
        console.print(text, highlight=False, markup=False)
    statement = f"model {model['name']} {model['version']} ({model['backend']}). {model['statement']}"
    console.print(statement, highlight=False, markup=False)
    console.print("[bold]Research use only.[/bold]")
