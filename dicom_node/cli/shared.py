"""What the commands share: the program, its exit codes, how answers and complaints are printed.

Exit codes: 0 done, 2 wrong usage, 3 refused with a reason, 4 failed, 130 stopped by Ctrl-C with all work saved.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

DONE, USAGE, REFUSED, FAILED = 0, 2, 3, 4
STOPPED = 130  # as a shell says of a program that Ctrl-C ended
RESEARCHERS = "Train and evaluate"  # the heading of their commands in the help
LONGEST_TEXT = 200

app = typer.Typer(
    name="petct-node",
    help="PET/CT AI node: series in by C-STORE, SUV, lesions, a 3D network, DICOM results out. Research use only.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
train_app = typer.Typer(help="Train the models that the node serves.", no_args_is_help=True)
app.add_typer(train_app, name="train", rich_help_panel=RESEARCHERS)

out = Console()
err = Console(stderr=True)


def address(value: str) -> str:
    """Callback of an option: HOST:PORT."""
    from dicom_node.commands.send import parse_address
    from inference.facts import Refused

    try:
        parse_address(value)
    except Refused as refused:
        raise typer.BadParameter(refused.reason) from None
    return value


def ae_title(value: str) -> str:
    """Callback of an option: an AE title, without padding."""
    from dicom_node.sections import valid_ae_title

    try:
        return valid_ae_title(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def short_text(value: str) -> str:
    """Callback of an option: one line that fits into a report and a log."""
    if len(value) > LONGEST_TEXT or (value and not value.isprintable()):
        raise typer.BadParameter(f"at most {LONGEST_TEXT} characters, all printable")
    return value.strip()


def maybe_ae_title(value: str | None) -> str | None:
    """Callback of an option that may be left out: an AE title."""
    return None if value is None else ae_title(value)


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
    except Exception as fault:  # noqa: BLE001 - a fault of the program: whoever mends it needs the traceback
        if type(fault).__name__ == "SafetensorError" and "I/O error" in str(fault):
            _complain("failed", f": {fault}")  # a full disk, as that library says it
        else:
            traceback.print_exc()
        raise typer.Exit(FAILED) from None


def _complain(word: str, text: str) -> None:
    """On standard error, as it is: a path may hold what looks like Rich's markup."""
    err.print(Text.assemble((word, "red"), text), soft_wrap=True)


def print_fields(answer: dict[str, Any]) -> None:
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
