"""What commands say of faults that are not the program's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import typer
from safetensors.numpy import save_file

from dicom_node.cli.shared import FAILED, answers


def test_a_file_that_safetensors_cannot_write_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Its errors of the disk, a full one among them, are no ``OSError``."""
    with pytest.raises(typer.Exit) as ended, answers():
        save_file({"a": np.zeros(4)}, tmp_path / "missing" / "member.safetensors")
    assert ended.value.exit_code == FAILED
    said = capsys.readouterr().err
    assert "failed" in said
    assert "Traceback" not in said
