"""Where a tracer goes in everybody: the organs with uptake of their own."""

from __future__ import annotations

from inference.facts import Tracer

# Liver and spleen are not among FDG's: what is above PERCIST's threshold, or SUVbw 4, is not their usual uptake.
FDG_LIKE = ("brain", "heart", "bowel", "kidney", "bladder", "ureter", "glands")
# Prostate-specific membrane antigen and somatostatin receptor ligands: none in brain and heart.
PEPTIDE_LIKE = ("liver", "spleen", "bowel", "kidney", "bladder", "ureter", "glands")
PSMA_NAMES = ("dcfpyl", "dcfbc")
# What is not known is excreted somehow.
EXCRETED = ("kidney", "bladder", "ureter")


def pattern_of(tracer: Tracer) -> tuple[str, ...]:
    """The organs with uptake of their own; an unknown tracer's are taken as FDG's (said to the reader elsewhere)."""
    if tracer.name in ("", "fdg"):
        return FDG_LIKE
    peptide = "psma" in tracer.name or tracer.name.startswith("dota") or tracer.name in PSMA_NAMES
    return PEPTIDE_LIKE if peptide else EXCRETED
