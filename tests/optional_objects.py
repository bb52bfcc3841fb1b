"""The optional objects that carry places, written and checked: what their tests share."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from dicom_node.report import write_results
from inference.facts import Analysis, Result
from tests.integration.test_results_peers import run, tool
from tests.report_case import (
    RUN,
    lesion_of,
)

ALSO = ("label_map", "parametric_map", "rtstruct")
ASKED = replace(RUN, also=ALSO)
TWO = (((30.0, -20.0, 12.0), 14.0, 8.0), ((-35.0, 10.0, -15.0), 9.0, 5.0))
# What dciodvfy of 2022 says of a SOP class that it does not know (Sup 243 is of 2024), and of a background
OLD_TABLES = ("Information Object Not found", "SegmentNumber not monotonically increasing from one by one")


def write(analysis: Analysis, folder: Path) -> dict[str, list[Result]]:
    found: dict[str, list[Result]] = {kind: [] for kind in ALSO}
    for result in write_results(analysis, ASKED, folder):
        found.setdefault(result.kind, []).append(result)
    return found


def with_lesions(analysis: Analysis, *regions: np.ndarray, source: str = "automatic") -> Analysis:
    lesions = tuple(lesion_of(analysis.suv, region, n, source) for n, region in enumerate(regions, start=1))
    return replace(analysis, lesions=lesions, saliency=None)


def assert_valid(path: Path) -> None:
    report = run(tool("dciodvfy"), "-new", str(path))
    errors = [line for line in (report.stdout + report.stderr).splitlines() if line.startswith("Error")]
    if path.name.startswith("label_map"):
        errors = [error for error in errors if not any(known in error for known in OLD_TABLES)]
    assert not errors, (path.name, errors)
    dumped = run(tool("dcmdump"), "-q", str(path))
    assert (dumped.returncode, dumped.stderr) == (0, "")
