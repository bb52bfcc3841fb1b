"""What all tests share: the real patients' data beside the repository."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (../shared/data); the test is skipped where it is absent, and fails in CI."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail("../shared/data is absent in CI: these tests may not be skipped here")
    pytest.skip("../shared/data (real patients' studies) is not beside this repository")
