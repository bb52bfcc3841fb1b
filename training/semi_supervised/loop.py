"""The one loop of all methods: equal supervised steps, a slow teacher, exact resume after a kill (methods B2)."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, nn

from inference.facts import Refused
from inference.model.network import NetworkSettings
from training.recipe import Conditions, Progress, Stopped
from training.semi_supervised import checkpoint
from training.semi_supervised.augment import Augment, Channels
from training.semi_supervised.method import Bench, Method, Step
from training.semi_supervised.optimise import Optimiser
from training.semi_supervised.problem import Batches, Images, Problem
from training.semi_supervised.processes import Processes
from training.semi_supervised.settings import LoopSettings
from training.semi_supervised.start import identity, mixed_precision, new_student, prepare_torch, strata
from training.semi_supervised.student import Student, follow, probabilities, teacher_of

LAYOUT = torch.channels_last_3d  # a quarter faster than torch's default on CPU
SUPERVISED, FREE = 0, 1  # kinds of steps, for their random numbers

Weights = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Fitted:
    """``weights``: of the teacher, as a bundle keeps them.  ``steps``: supervised steps taken; ``chosen``: the one that
    the weights are of.  ``losses``: mean of each ten supervised steps.  ``validation``: (step, log loss or 1 − AUC) of
    each look.
    ``seconds``, ``input_seconds``: of this process's part of the fit, and of it for images and augmentation.
    """

    weights: Weights
    steps: int
    chosen: int
    losses: tuple[float, ...]
    validation: tuple[tuple[int, float], ...]
    seconds: float
    input_seconds: float


@dataclass(slots=True)
class _Course:
    """Where a fit is: what of its state is no tensor."""

    step: int = 0
    free: int = 0
    losses: list[float] = field(default_factory=list)
    validation: list[tuple[int, float]] = field(default_factory=list)
    best_loss: float = float("inf")
    best_step: int = 0


class _Objective(nn.Module):
    """The loss of a step as a module, so that DistributedDataParallel sees one forward whatever a method does."""

    def __init__(self, method: Method, bench: Bench) -> None:
        super().__init__()
        self.student = bench.student
        self._method, self._bench = method, bench

    def forward(self, step: Step, *, free: bool) -> Tensor:
        return self._method.free_loss(step, self._bench) if free else self._method.loss(step, self._bench)


def fit(
    problem: Problem,
    method: Method,
    network: NetworkSettings,
    settings: LoopSettings,
    channels: Channels,
    conditions: Conditions,
    initial: Mapping[str, npt.NDArray[Any]] | None = None,
) -> Fitted:
    """Train one network.  ``initial``: weights to begin with (of a pretraining), else drawn from the seed.

    The same arguments give the same bytes on one machine, whether or not the fit was interrupted in between.
    Raises ``Refused``: ``training-one-class``, ``training-loss-not-finite``, ``training-out-of-memory``; ``Stopped``.
    """
    problem.check()
    try:
        return _Fit(problem, method, network, settings, channels, conditions, initial).run()
    except (torch.OutOfMemoryError, MemoryError) as fault:
        raise _out_of_memory(settings) from fault
    except RuntimeError as fault:
        if "allocate memory" not in str(fault):
            raise
        raise _out_of_memory(settings) from fault


class _Fit:
    def __init__(
        self,
        problem: Problem,
        method: Method,
        network: NetworkSettings,
        settings: LoopSettings,
        channels: Channels,
        conditions: Conditions,
        initial: Mapping[str, npt.NDArray[Any]] | None,
    ) -> None:
        self._problem, self._method, self._settings, self._conditions = problem, method, settings, conditions
        self._device = torch.device(conditions.device)
        prepare_torch(self._device, conditions.threads)
        self._processes = Processes.join(self._device)
        self._images = Images(problem.inputs, self._device, problem.values)
        student = new_student(network, method, conditions.seed, initial).to(self._device)
        if problem.inputs.ndim == 5:
            student = student.to(memory_format=LAYOUT)  # type: ignore[call-overload]  # torch's stub lacks it
        self._bench = self._made_bench(student, Augment(channels))
        method.begin(self._bench)
        optimisers = {SUPERVISED: Optimiser(student, settings), FREE: Optimiser(student, settings)}
        self._optimisers = optimisers  # two states, as the lineage has them (methods B2)
        self._objective = self._shared(_Objective(method, self._bench))
        self._best: dict[str, Tensor] = {}
        self._course = _Course()
        self._seconds = 0.0
        self._identity = identity(problem, method, network, settings, conditions, self._processes.count, initial)
        rows = problem.train
        self._labelled = Batches(rows, strata(problem), settings.batch, [conditions.seed, 0])
        free = problem.unlabelled if method.needs_unlabelled else problem.unlabelled[:0]
        self._unlabelled = Batches(free, [problem.centres[i] for i in free], settings.unlabelled_batch,
                                   [conditions.seed, 1])  # fmt: skip
        both = np.concatenate([rows, free])
        self._all = Batches(both, [problem.centres[i] for i in both], settings.unlabelled_batch, [conditions.seed, 2])

    def run(self) -> Fitted:
        self._resume()
        started = time.monotonic()
        course, settings, bench = self._course, self._settings, self._bench
        while course.step < settings.steps and not self._exhausted():
            if self._processes.any(self._conditions.stop(), self._device):
                self._save()
                raise Stopped
            number = course.step
            self._supervised(number)
            for _ in range(self._method.free_steps(number, settings.steps)):
                self._free(number)
            course.step += 1
            if course.step % settings.refresh_every == 0:
                self._method.refresh(self._step(number, SUPERVISED, self._labelled), bench)
            if settings.check_every and (course.step % settings.check_every == 0 or course.step == settings.steps):
                self._look()
            if course.step % settings.save_every == 0 and course.step < settings.steps:
                self._save()
            if course.step % 10 == 0 or course.step == settings.steps:
                self._conditions.tell(Progress(course.step, settings.steps, self._method.name))
        self._seconds += time.monotonic() - started
        weights = self._best or bench.teacher.network.state_dict()
        return Fitted(
            {name: tensor.detach().cpu().contiguous().numpy().copy() for name, tensor in weights.items()},
            course.step, course.best_step if self._best else course.step,
            tuple(float(np.mean(course.losses[i : i + 10])) for i in range(0, len(course.losses), 10)),
            tuple(course.validation), self._seconds, bench.input_seconds,
        )  # fmt: skip

    def _supervised(self, number: int) -> None:
        step = self._step(number, SUPERVISED, self._labelled, self._unlabelled)
        self._course.losses.append(self._learn(step, SUPERVISED))

    def _free(self, number: int) -> None:
        step = self._step(number, FREE, self._labelled, self._all)
        self._learn(step, FREE)
        self._course.free += 1

    def _learn(self, step: Step, kind: int) -> float:
        self._bench.student.train()
        with torch.random.fork_rng(), mixed_precision(self._device):
            torch.manual_seed(step.generator.initial_seed())  # dropout draws from it: a step needs no state of it
            loss = self._objective(step, free=kind == FREE)
        value = float(loss.detach())
        if self._processes.any(not np.isfinite(value), self._device):
            rows = sorted({int(row) for row in (*step.labelled.tolist(), *step.unlabelled.tolist())})
            raise Refused(
                "training-loss-not-finite",
                f"The loss is no number at step {step.number + 1}; the batch held the rows {rows} (from 0). Look at "
                "their images and values, or lower the learning rate.",
            )
        self._optimisers[kind].step(loss, step.number)
        self._processes.share(self._bench.student)
        follow(self._bench.teacher, self._bench.student, step.number, self._settings.ema)
        return value

    def _step(self, number: int, kind: int, labelled: Batches, unlabelled: Batches | None = None) -> Step:
        part, parts = self._processes.rank, self._processes.count
        place = self._course.free if kind == FREE else number
        seed = np.random.SeedSequence([self._conditions.seed, kind, place, part]).generate_state(1, np.uint64)[0]
        generator = torch.Generator(self._device).manual_seed(int(seed) >> 1)
        free = unlabelled.at(place, part, parts) if unlabelled else np.empty(0, np.int64)
        known = labelled.at(number, part, parts)
        return Step(
            number, number / self._settings.steps, torch.from_numpy(known).to(self._device),
            torch.from_numpy(free).to(self._device), generator,
        )  # fmt: skip

    def _look(self) -> None:
        """Log loss (or 1 − AUC) of the teacher on the validation rows; the best teacher is kept."""
        rows, course = self._problem.validation, self._course
        if not len(rows):
            return
        p = positive(self._bench.teacher, self._images, rows).clip(1e-6, 1.0 - 1e-6)
        if not np.isfinite(p).all():
            raise Refused(
                "training-loss-not-finite",
                f"The network answers with no number after step {course.step}; lower the learning rate, or look at the "
                "images and values of the cohort.",
            )
        truth = self._problem.labels[rows] == 1
        loss = float(-np.log(np.where(truth, p, 1.0 - p)).mean())
        if self._settings.choose_by == "AUC":
            loss = 1.0 - float(roc_auc_score(truth, p))
        course.validation.append((course.step, round(loss, 6)))
        if loss < course.best_loss:
            course.best_loss, course.best_step = loss, course.step
            self._best = {name: t.detach().clone() for name, t in self._bench.teacher.network.state_dict().items()}

    def _exhausted(self) -> bool:
        """No better look for ``patience`` looks."""
        course, settings = self._course, self._settings
        waited = sum(1 for step, _ in course.validation if step > course.best_step)
        return bool(settings.patience) and waited >= settings.patience

    def _made_bench(self, student: Student, augment: Augment) -> Bench:
        everything = np.concatenate([self._problem.train, self._problem.unlabelled])
        places = np.full(len(self._problem.inputs), -1, np.int64)
        places[everything] = np.arange(len(everything))
        return Bench(
            student, teacher_of(student), self._problem, self._settings, self._images, augment, self._device,
            torch.from_numpy(everything).to(self._device), torch.from_numpy(places).to(self._device),
            self._processes.averaged,
        )  # fmt: skip

    def _shared(self, objective: _Objective) -> nn.Module:
        if self._processes.count == 1:
            return objective
        return nn.parallel.DistributedDataParallel(objective, broadcast_buffers=False, find_unused_parameters=True)

    @property
    def _file(self) -> Path:
        return self._conditions.folder / f"fit_{self._processes.rank}.safetensors"

    def _save(self) -> None:
        bench, course = self._bench, self._course
        parts = {
            "student": bench.student.state_dict(), "teacher": bench.teacher.state_dict(), "best": self._best,
            "adam": self._optimisers[SUPERVISED].state(), "adam_free": self._optimisers[FREE].state(),
            "memory": bench.memory,
        }  # fmt: skip
        facts = {name: getattr(course, name) for name in _Course.__slots__}
        checkpoint.save(self._file, parts, {"identity": self._identity, **facts})

    def _resume(self) -> None:
        found = checkpoint.load(self._file, self._identity, self._device)
        step = -1 if found is None else int(found[1]["step"])
        if found is None or not self._processes.agreed(step, self._device):
            return
        parts, facts = found
        self._bench.student.load_state_dict(parts["student"])
        self._bench.teacher.load_state_dict(parts["teacher"])
        self._bench.memory.update(parts.get("memory", {}))
        self._best = parts.get("best", {})
        self._optimisers[SUPERVISED].restore(parts.get("adam", {}))
        self._optimisers[FREE].restore(parts.get("adam_free", {}))
        best = float(facts["best_loss"])
        looks = [(int(at), float(loss)) for at, loss in facts["validation"]]
        self._course = _Course(step, int(facts["free"]), list(facts["losses"]), looks, best, int(facts["best_step"]))


def positive(student: Student, images: Images, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """P(label) (len(rows),) of a network in evaluation mode."""
    parts = [rows[i : i + images.at_once] for i in range(0, len(rows), images.at_once)]
    found = [probabilities(student, images.of(part), images.values(part)) for part in parts]
    return np.concatenate([one.double().cpu().numpy() for one in found])


def _out_of_memory(settings: LoopSettings) -> Refused:
    return Refused(
        "training-out-of-memory",
        f"The memory does not hold a step; lower batch (now {settings.batch}) and unlabelled_batch (now "
        f"{settings.unlabelled_batch}), or the size of the input.",
    )
