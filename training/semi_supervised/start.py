"""What a fit starts from: torch's settings, a new student, and the name by which it knows its own checkpoint."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference.model.network import NetworkSettings, build
from training.recipe import Conditions
from training.semi_supervised.method import Method
from training.semi_supervised.problem import Problem
from training.semi_supervised.settings import LoopSettings
from training.semi_supervised.student import Student


def prepare_torch(device: torch.device, threads: int) -> None:
    """Deterministic kernels; some of CUDA's have none, which torch then says."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(True, warn_only=device.type == "cuda")


def new_student(
    network: NetworkSettings, method: Method, seed: int, initial: Mapping[str, npt.NDArray[Any]] | None
) -> Student:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = build(network)
        student = Student(made, method.heads(made.embedding_width))
    if initial is not None:
        made.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in initial.items()})
    return student


def strata(problem: Problem) -> list[tuple[int, str]]:
    return [(int(problem.labels[i]), problem.centres[i]) for i in problem.train]


def mixed_precision(device: torch.device) -> AbstractContextManager[object]:
    return torch.autocast("cuda", torch.bfloat16) if device.type == "cuda" else nullcontext()


def identity(
    problem: Problem, method: Method, network: NetworkSettings, settings: LoopSettings,
    conditions: Conditions, processes: int, initial: Mapping[str, npt.NDArray[Any]] | None,
) -> str:  # fmt: skip
    """Tells one fit from another, so that a checkpoint is only taken up by its own."""
    told = [method.name, network.model_dump(mode="json"), settings.model_dump(mode="json"), conditions.seed, processes]
    digest = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
    for rows in (problem.train, problem.validation, problem.unlabelled):
        digest.update(np.ascontiguousarray(rows).tobytes())
    digest.update(problem.labels[problem.train].tobytes())
    digest.update(np.ascontiguousarray(problem.inputs[problem.train[:4]]).tobytes())
    for beside in (problem.values, problem.weights, problem.targets, problem.pretext):
        digest.update(b"none" if beside is None else np.ascontiguousarray(beside).tobytes())
    for name, weights in sorted((initial or {}).items()):
        digest.update(name.encode() + np.ascontiguousarray(weights).tobytes())
    return digest.hexdigest()
