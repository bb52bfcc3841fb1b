"""The command line: thin commands over importable functions; nothing heavy is imported at the top.

``shared``: the program and how it answers; then one module for each kind of command.
"""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node import NODE_VERSION
from dicom_node.cli import cohort, evaluate, node, phantom, recipes, study, train
from dicom_node.cli.shared import DONE, FAILED, REFUSED, USAGE, app, out

__all__ = [
    "DONE", "FAILED", "REFUSED", "USAGE", "app", "cohort", "evaluate", "main", "node", "phantom", "recipes", "study",
    "train",
]  # fmt: skip


def _version(asked: bool) -> None:
    if asked:
        out.print(f"petct-node {NODE_VERSION}", highlight=False)
        raise typer.Exit


@app.callback()
def _top(
    _: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of `petct-node`."""
    app()
