"""What all tests share: the real patients' data beside the repository, and a running node with its archive."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.demo.node_process import NodeProcess
from dicom_node.demo.orthanc_process import PrivateOrthanc

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data (../shared/data); the test is skipped where it is absent, and fails in CI."""
    if SHARED.is_dir():
        return SHARED
    if os.environ.get("CI"):
        pytest.fail("../shared/data is absent in CI: these tests may not be skipped here")
    pytest.skip("../shared/data (real patients' studies) is not beside this repository")


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateOrthanc]:
    """An archive for the tests of one file."""
    with PrivateOrthanc(tmp_path_factory.mktemp("orthanc")) as running:
        yield running


@pytest.fixture(scope="module")
def node(
    request: pytest.FixtureRequest, orthanc: PrivateOrthanc, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[NodeProcess]:
    """A node for the tests of one file, delivering to the archive; the file's NODE_SETTINGS are more of its TOML."""
    settings = getattr(request.module, "NODE_SETTINGS", "")
    with NodeProcess(tmp_path_factory.mktemp("node"), orthanc.http_url, more=settings) as running:
        yield running
