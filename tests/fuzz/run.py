"""Run one fuzz target under atheris (libFuzzer): ``python -m tests.fuzz.run header -max_total_time=60 corpus/``.

What libFuzzer writes as ``crash-…``, ``timeout-…`` or ``oom-…`` is a finding: mend the cause, and keep the input, made
small (``-minimize_crash=1``), as a test of its own in ``tests/fuzz/test_fuzz.py``.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random

import atheris

with atheris.instrument_imports(include=["inference", "dicom_node.assemble"]):
    from tests.fuzz.header import try_header
    from tests.fuzz.region import try_region
    from tests.fuzz.study import study_seeds, try_study

from tests.fuzz.mutate import mutate
from tests.fuzz.seeds import header_seeds, region_seeds

LIMITS = ("-timeout=10", "-rss_limit_mb=2048", "-malloc_limit_mb=512", "-max_len=131072", "-len_control=0")
TARGETS: dict[str, tuple[Callable[[bytes], object], Callable[[], list[bytes]], bool]] = {
    "header": (try_header, header_seeds, True),
    "study": (try_study, study_seeds, False),
    "region": (try_region, region_seeds, True),
}


def _mutator(data: bytes, most: int, seed: int) -> bytes:
    random = Random(seed)
    if random.random() < 0.1:
        return bytes(atheris.Mutate(data, most))[:most]
    return mutate(data, random, most)[:most]


def main() -> None:
    name, arguments = sys.argv[1], sys.argv[2:]
    target, seeds, structured = TARGETS[name]
    with tempfile.TemporaryDirectory() as folder:
        for number, seed in enumerate(seeds()):
            Path(folder, f"{number:04}").write_bytes(seed)
        folders = [a for a in arguments if not a.startswith("-")]
        options = [a for a in arguments if a.startswith("-")]
        command = [sys.argv[0], *LIMITS, *options, *(folders or [tempfile.mkdtemp(dir=folder)]), folder]
        if structured:
            atheris.Setup(command, target, custom_mutator=_mutator)
        else:
            atheris.Setup(command, target)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
