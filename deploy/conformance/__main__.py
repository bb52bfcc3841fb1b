"""``python -m deploy.conformance``: write the tables of conformance.md anew."""

from __future__ import annotations

import sys

from deploy.conformance.page import DOCUMENT, page


def main() -> int:
    """Exit code 0; the file is written only where it changes."""
    before = DOCUMENT.read_text(encoding="utf-8")
    after = page(before)
    if after == before:
        sys.stdout.write(f"{DOCUMENT.name} is as the code has it\n")
        return 0
    DOCUMENT.write_text(after, encoding="utf-8")
    sys.stdout.write(f"{DOCUMENT.name} is written anew\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
