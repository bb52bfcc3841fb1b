"""The picture of a run's report in the README, made again: `make report-picture`.

Trains `dlr` on a phantom cohort as a user would (3 minutes on two cores), and takes the top of the report in Chromium.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

REPOSITORY = Path(__file__).resolve().parents[2]
WIDTH, HEIGHT = 1100, 970  # pixels of the page: down to the table beside the phantom's optimum
SHOWN_WIDTH = 880


def main() -> None:
    browser = shutil.which("chromium")
    if browser is None:
        sys.exit("chromium is missing: `make viewer-setup` installs it")
    with TemporaryDirectory() as folder:
        _petct_node("phantom", "dlr", "--out", f"{folder}/cohort", "--subjects", "150")
        _petct_node("train", "dlr", "--cohort", f"{folder}/cohort/cohort.csv", "--out", f"{folder}/run", "--folds", "3")
        shot = Path(folder) / "shot.png"
        size = f"--window-size={WIDTH},{HEIGHT}"
        page = (Path(folder) / "run" / "report.html").as_uri()
        subprocess.run(
            [browser, "--headless", "--no-sandbox", "--hide-scrollbars", size, f"--screenshot={shot}", page], check=True
        )
        picture = Image.open(shot).convert("RGB")
        height = round(picture.height * SHOWN_WIDTH / picture.width)
        small = picture.resize((SHOWN_WIDTH, height), Image.Resampling.LANCZOS)
        # as in pictures.py: the median cut would lose the few coloured pixels
        small.quantize(64, method=Image.Quantize.MAXCOVERAGE, kmeans=2).save(
            REPOSITORY / "docs" / "training-report.png", optimize=True
        )


def _petct_node(*arguments: str) -> None:
    subprocess.run([Path(sys.executable).with_name("petct-node"), *arguments], check=True)


if __name__ == "__main__":
    main()
