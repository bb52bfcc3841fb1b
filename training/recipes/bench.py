"""The timing bundle: MONAI's ResNet-18 on 96³ × 2 with random weights, the network that benchmarks compare."""

from __future__ import annotations

from pathlib import Path

from inference.model.bundle import save_bundle
from inference.model.inputs import FixedCrop, settings_digest
from inference.model.served import Served
from training.recipes.demo import PROBABILITY_CODE, STATUS_CODE, TARGET

NAME = "bench"
STATEMENT = "timing model: random weights, says nothing about anyone"


def write_bench_bundle(out: Path) -> str:
    """Write the bundle (one member, seed 0, fp32) and give its digest."""
    import torch

    from inference.model.network import MonaiResNet18, build

    look = FixedCrop(size=96)
    network = MonaiResNet18(channels=len(look.channels))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        weights = {name: tensor.numpy() for name, tensor in build(network).state_dict().items()}
    served = Served(
        name=NAME,
        version="1.0.0",
        target=TARGET,
        statement=STATEMENT,
        demonstration=True,
        intended_use="To time the node; its output means nothing.",
        tracer="any",
        body_part="any",
        region_rule="any",
        status_code=STATUS_CODE,
        probability_code=PROBABILITY_CODE,
        input=look,
        input_digest=settings_digest(look),
        network=network.model_dump(mode="json"),
        members=1,
        temperature=1.0,
        threshold=0.5,
    )
    return save_bundle(out, served, [weights], None, model_card=f"# bench\n\n**{STATEMENT}.**\n")
