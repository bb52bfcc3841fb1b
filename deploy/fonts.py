"""The fonts of the pictures for Japanese and Chinese: Noto Sans JP and SC (SIL Open Font License 1.1), cut to size.

``make fonts`` gets them from npm packages of Google Fonts' releases, pinned by digest, and keeps the characters of the
first levels of JIS X 0208 and GB 2312, Latin, and all that the tables of ``dicom_node/report/words`` need.  The same
input gives the same bytes, but for another version of fontTools.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from pathlib import Path

from fontTools import subset
from fontTools.ttLib import TTFont

ROOT = Path(__file__).parents[1]
WORDS = ROOT / "dicom_node" / "report" / "words"
FONTS = ROOT / "dicom_node" / "report" / "pictures" / "fonts"
VERSION = "0.4.3"
LATIN = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA0, 0x180)))) + "≥≤≠≈×÷−–—…“”‘’„‚«»‹›µ°²³₀₁₂→←↑↓αβγΔσ"
WEIGHTS = {"Regular": "400Regular", "Bold": "700Bold"}
KUTEN_SYMBOLS, KUTEN_LEVEL_1_JIS, KUTEN_LEVEL_1_GB = range(1, 9), range(16, 48), range(16, 56)
SOURCES = {  # language → file name, SHA-512 of the npm package, encoding and rows (kuten, quwei) of its characters
    "ja": (
        "JP",
        "165f99eafb43db81c5018b2fcc1d12f4d7abcb5972d7a07d3deb1d634c0177ec041c0be436096791352ca54d07a863ae6e49a86bcceeb09acabfabc3c75a3bd0",
        ("euc_jp", (*KUTEN_SYMBOLS, *KUTEN_LEVEL_1_JIS)),
    ),
    "zh": (
        "SC",
        "f6b0307454c51db3bfbba0acd208f68d96d6ef84c62226853509d7607dace700356f3564c1b6af88be2df18515eb8d9e1988e0f3a787e8390011099f3470e771",
        ("gb2312", (*KUTEN_SYMBOLS, *KUTEN_LEVEL_1_GB)),
    ),
}


def main() -> None:
    FONTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        for language, (script, sha512, (encoding, rows)) in SOURCES.items():
            folder = package(f"@expo-google-fonts/noto-sans-{script.lower()}@{VERSION}", sha512, Path(scratch, script))
            text = LATIN + characters(encoding, rows) + of_tables(language)
            for weight, name in WEIGHTS.items():
                source = folder / name / f"NotoSans{script}_{name}.ttf"
                cut(source, text, FONTS / f"NotoSans{script}-{weight}.ttf")
            (FONTS / "OFL.txt").write_bytes((folder / "LICENSE_FONT").read_bytes())


def package(name: str, sha512: str, folder: Path) -> Path:
    """The unpacked npm package; raises SystemExit where it is not the pinned one."""
    folder.mkdir()
    subprocess.run(["npm", "pack", "--silent", "--pack-destination", folder, name], check=True, stdout=sys.stderr)
    (packed,) = folder.glob("*.tgz")
    if hashlib.sha512(packed.read_bytes()).hexdigest() != sha512:
        raise SystemExit(f"{name} is not the package whose digest this file names.")
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"


def characters(encoding: str, rows: tuple[int, ...]) -> str:
    """The characters of the rows of a 94 × 94 set."""
    return "".join(bytes((0xA0 + r, 0xA0 + c)).decode(encoding, "ignore") for r in rows for c in range(1, 95))


def of_tables(language: str) -> str:
    tables = (tomllib.loads(path.read_text(encoding="utf-8")) for path in WORDS.glob("*.toml"))
    return "".join(row[language] for table in tables for row in table.values())


def cut(source: Path, text: str, target: Path) -> None:
    """``source`` with the characters of ``text`` alone, and without what plain lettering does not use."""
    options = subset.Options()
    options.hinting, options.layout_features, options.notdef_outline = False, [], True
    options.name_IDs = ["*"]
    options.drop_tables += ["GSUB", "GPOS", "GDEF", "BASE", "vhea", "vmtx", "VORG"]
    font = TTFont(source, recalcTimestamp=False)
    cutter = subset.Subsetter(options)
    cutter.populate(text=text)
    cutter.subset(font)
    font.save(target)
    print(target.name, target.stat().st_size, "bytes,", font["maxp"].numGlyphs, "glyphs")  # noqa: T201


if __name__ == "__main__":
    main()
