"""The pictures of a real patient in README and docs/viewers.md, made again from ../shared/data: `make pictures`.

Runs the viewer tests on patient STS_001 (CC BY 3.0, credited in the README) and takes some of their pictures.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
PATIENT = REPOSITORY.parent / "shared" / "data" / "study_sts_001"
VIEWER = REPOSITORY / ".cache" / "viewer"
PICTURES = {  # name in docs/, source, width in pixels: enough to read the text in 150 KB
    "key-image.png": (VIEWER / "results" / "key_image.png", 768),
    "ohif-sr.png": (VIEWER / "shots" / "sr_viewer.png", 1024),
    "ohif-heatmap.png": (VIEWER / "shots" / "heatmap.png", 1024),
    "viewers/ohif-label-map.png": (VIEWER / "shots" / "label_map.png", 800),
    "viewers/ohif-key-image.png": (VIEWER / "shots" / "key_image.png", 800),
    "viewers/ohif-mip.png": (VIEWER / "shots" / "mip.png", 800),
    "viewers/dwv-seg.png": (VIEWER / "shots" / "dwv_seg.png", 800),
    "viewers/dwv-sr.png": (VIEWER / "shots" / "dwv_sr_viewer.png", 800),
}


def main() -> None:
    if not PATIENT.is_dir():
        sys.exit("../shared/data is not beside this repository")
    with TemporaryDirectory() as folder:
        study = Path(folder) / "study"
        for series in ("ct", "pet_bqml"):
            shutil.copytree(PATIENT / series, study / series)
        shutil.copy(PATIENT / "rtstruct_ct.dcm", study)
        tests = [sys.executable, "-m", "pytest", "-q", str(Path(__file__).parent)]
        subprocess.run(tests, env={**os.environ, "VIEWER_STUDY": str(study)}, check=True)
    (REPOSITORY / "docs" / "viewers").mkdir(exist_ok=True)
    for name, (source, width) in PICTURES.items():
        picture = Image.open(source).convert("RGB")
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
        # the median cut that is Pillow's default would lose the few coloured pixels among the many grey ones
        picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(
            REPOSITORY / "docs" / name, optimize=True
        )


if __name__ == "__main__":
    main()
