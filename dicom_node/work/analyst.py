"""The process that analyses: resident, the model warm, apart from the engine, with limits of time and memory.

Long and crash-prone work happens here.  If it hangs, swells or dies, its keeper ends it, says why, and starts another.
Only run ids cross between the two; the child reads pair and instances itself and writes the result set itself.  It
answers "" when it is warm and after each run, and else with what it must wait for.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
import time
from dataclasses import replace
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from dicom_node.config import Settings
from dicom_node.work.patience import NotNow, is_of_the_machine
from dicom_node.work.result_set import ResultSet, publish, read_set, reports, temporary_folder
from inference.facts import Instance, ModelFacts, Refused, Result, Run
from inference.reading.decoded import with_decoded

if TYPE_CHECKING:
    from dicom_node.work.job import Work
    from inference.model.given import Given
    from inference.model.predict import Model

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 0.25
WARM_LIMIT_S = 300.0  # to import and load the model, on a machine that has much else to do
# What the first study would otherwise wait for; the third-party ones are imported inside functions elsewhere.
WARM = (
    "inference.analyse",
    "dicom_node.report.pictures.key_image",
    "dicom_node.report.objects.heatmap",
    "dicom_node.report.objects.segmentation",
    "dicom_node.report.objects.sr",
    "dicom_node.report.objects.sr_viewer",
    "SimpleITK",
    "cc3d",
    "contourpy",
    "imagecodecs",
)


class AnalysisEnded(Exception):  # noqa: N818 - not the keeper's fault
    """The child died, or was ended at a limit, before it had an answer.  ``reason``: a sentence for the operator."""


class Analyst:
    """Keeps the child.  One analysis at a time; calls from several threads wait their turn."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._turn = threading.Lock()
        self._process: multiprocessing.process.BaseProcess | None = None
        self._connection: Connection | None = None
        self._warm = False

    @property
    def pid(self) -> int | None:
        """Process id of the child, None where there is none."""
        return self._process.pid if self._process else None

    def warm_up(self) -> None:
        """Start the child, so that the model is loaded before the first study comes."""
        with self._turn:
            self._running()

    def analyse(self, run_id: str, started_at: str, set_aside: str = "") -> ResultSet:
        """The result set of a run, written if it is not there yet.

        ``set_aside``: give the run up with this reason instead of analysing it.  Raises AnalysisEnded, and NotNow
        where no study could be analysed: the model cannot be loaded, the disk is full.
        """
        with self._turn:
            connection = self._warmed_up()
            try:
                connection.send((run_id, started_at, set_aside))
                waits_for = self._answer(connection, self._settings.infer.time_limit_s)
            except (EOFError, OSError):
                self._end()
                raise AnalysisEnded("the analysing process died") from None
        if waits_for:
            raise NotNow(waits_for)
        found = read_set(self._settings.results_dir / run_id)
        if found is None:
            raise AnalysisEnded("the analysing process wrote no result set; its log says why")
        return found

    def close(self) -> None:
        """End the child, whatever it is doing."""
        self._end()

    def _warmed_up(self) -> Connection:
        """The child's connection once its model is loaded.  Raises NotNow where that fails: it is no study's fault."""
        connection = self._running()
        if self._warm:
            return connection
        try:
            reason = self._answer(connection, WARM_LIMIT_S)
        except AnalysisEnded as ended:
            reason = str(ended)
        except (EOFError, OSError):
            reason = "it died"
        if reason:
            self._end()
            raise NotNow(f"the analysing process does not start: {reason}")
        self._warm = True
        return connection

    def _running(self) -> Connection:
        if self._process is not None and self._connection is not None and self._process.is_alive():
            return self._connection
        self._end()
        spawn = multiprocessing.get_context("spawn")  # never fork a process that has threads
        ours, theirs = spawn.Pipe()
        self._process = spawn.Process(target=_child, args=(self._settings, theirs, os.getpid()), name="analyst")
        self._process.start()
        theirs.close()
        self._connection = ours
        return ours

    def _answer(self, connection: Connection, limit_s: float) -> str:
        """What the child answers.  Raises AnalysisEnded at a limit, EOFError where it died."""
        limits = self._settings.infer
        deadline = time.monotonic() + limit_s
        while not connection.poll(min(LOOK_EVERY_S, limit_s)):
            if time.monotonic() > deadline:
                self._end()
                setting = f" (infer.time_limit_s = {limits.time_limit_s:g})" if limit_s == limits.time_limit_s else ""
                raise AnalysisEnded(f"it took longer than {limit_s:g} s{setting}")
            if self._memory_mb() > limits.memory_limit_mb:
                self._end()
                raise AnalysisEnded(f"it took more than infer.memory_limit_mb = {limits.memory_limit_mb}")
        return str(connection.recv())

    def _memory_mb(self) -> float:
        import psutil

        try:
            return float(psutil.Process(self.pid).memory_info().rss) / 1e6
        except psutil.Error:
            return 0.0  # it is gone: the pipe will say so

    def _end(self) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        self._warm = False
        if process is not None:
            process.kill()
            process.join()
        if connection is not None:
            connection.close()


def _child(settings: Settings, connection: Connection, parent_pid: int) -> None:
    """The resident loop: a run id comes, an answer goes back; "" once its result set lies in its folder."""
    from dicom_node.log import set_up_log
    from dicom_node.work.lifeline import end_with_parent

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    end_with_parent(parent_pid)
    set_up_log(settings.node, "analyst")
    began = time.monotonic()
    try:
        desk = _Desk(settings)
    except Exception as error:  # the keeper says it, and tries again
        log.exception("the model could not be loaded")
        return connection.send(error.reason if isinstance(error, Refused) else f"{type(error).__name__}: {error}")
    gc.collect()
    gc.freeze()  # else each full collection looks through all that torch brought: 0.4 s in the middle of a study
    log.info("model warm", bundles=list(settings.bundles), seconds=round(time.monotonic() - began, 1))
    connection.send("")
    while True:
        try:
            run_id, started_at, set_aside = connection.recv()
        except (EOFError, ConnectionResetError):  # the keeper has ended
            return None
        waits_for = ""
        try:
            desk.write(run_id, started_at, set_aside)
        except Exception as error:  # the loop must go on: the keeper sees that there is no result set
            log.exception("no result set could be written", run_id=run_id)
            waits_for = f"no result set could be written: {error}" if is_of_the_machine(error) else ""
        connection.send(waits_for)


class _Desk:
    """What the child keeps open and warm."""

    def __init__(self, settings: Settings) -> None:
        for module in WARM:
            import_module(module)
        from dicom_node.index import Index
        from dicom_node.ledger import Ledger
        from dicom_node.values import ValueTable
        from inference.lesions.segmenter import load_segmenter

        self._settings = settings
        self._index = Index(settings.index_file)
        self._ledger = Ledger(settings.index_file)
        self._models = {name: self._load(name) for name in settings.bundles}
        self._values = ValueTable(settings.values.table)
        self._segmenter = load_segmenter(settings.infer.segmenter) if settings.infer.segmenter else None

    def _load(self, name: str) -> Model:
        from inference.model.bundle import find_bundle
        from inference.model.predict import Model

        infer = self._settings.infer
        path = find_bundle(name, search=[self._settings.bundles_dir])
        return Model.load(path, device=infer.device, threads=infer.threads, warm=True)

    def _model_of(self, work: Work) -> Model:
        """The one that was asked for when the run was made, even if the configuration no longer names it."""
        name = work.bundle or self._settings.bundles[0]
        return self._models[name] if name in self._models else self._load(name)

    def _facts_of(self, work: Work) -> ModelFacts | None:
        """What a refusal says of the model; None where several could have been asked and none was, or it is gone."""
        asked = [work.bundle] if work.bundle else list(self._models)
        return self._models[asked[0]].facts if len(asked) == 1 and asked[0] in self._models else None

    def write(self, run_id: str, started_at: str, set_aside: str) -> None:
        """Write the result set of a run, unless it is there."""
        from dicom_node.identity import Basis, make_run
        from inference.model.given import NOTHING_GIVEN

        folder = self._settings.results_dir / run_id
        if read_set(folder) is not None:
            return
        work = self._ledger.work(run_id)
        stored = [instance for study in work.studies for instance in self._index.study_instances(study)]
        instances = [with_decoded(instance, self._settings.decoded_dir) for instance in stored]
        replaced = [reports(self._settings.results_dir / name) for name in self._ledger.replaces(run_id)]
        predecessors = tuple(report for found in replaced for report in found)
        model = None if work.is_refusal else self._models.get(work.bundle or self._settings.bundles[0])
        given = self._values.of(work.reference_images(instances)) if model and model.values else NOTHING_GIVEN
        values = given.digest(model.values, work.study_instance_uid) if model else ""
        run = make_run(
            self._settings,
            started_at,
            predecessors=predecessors,
            segmenter=self._segmenter,
            occasions=self._ledger.occasions(run_id),
            bundle=work.bundle,
            values=values,
        )
        temporary = temporary_folder(self._settings.results_dir, run_id)
        found = self._answer(work, instances, run, temporary, set_aside, given)
        basis = Basis.of(self._settings, model.facts.digest if model else "", values)
        publish(temporary, folder, replace(found, made_with=basis.as_json()))

    def _answer(
        self,
        work: Work,
        instances: list[Instance],
        run: Run,
        folder: Path,
        set_aside: str,
        given: Given | None = None,
    ) -> ResultSet:
        if work.is_refusal:
            return self._refuse(work.images(instances), work.refusal(), "refused", self._facts_of(work), run, folder)
        pair = work.pair(instances)
        images = list(pair.images)
        if set_aside:
            reason = f"The analysis was given up: {set_aside}. Whoever runs the node must look at its log."
            return self._refuse(images, Refused("analysis-failed", reason), "failed", self._facts_of(work), run, folder)
        self._tell_decoded(work, images)
        try:
            from dicom_node.report import write_results
            from inference.analyse import analyse
            from inference.model.given import NOTHING_GIVEN

            model = self._model_of(work)
            infer = self._settings.infer
            analysis = analyse(
                pair,
                model,
                also_suv=infer.also_suv,
                segmenter=self._segmenter,
                region_names=self._settings.assemble.region_names,
                given=given or NOTHING_GIVEN,
            )
            results = write_results(analysis, run, folder)
        except Refused as refused:
            return self._refuse(images, refused, "refused", self._facts_of(work), run, folder)
        except Exception as error:
            if is_of_the_machine(error):
                raise
            log.exception("the analysis failed", run_id=work.run_id)
            what = type(error).__name__
            reason = f"The analysis failed unexpectedly ({what}). Whoever runs the node must look at its log."
            return self._refuse(images, Refused("analysis-failed", reason), "failed", self._facts_of(work), run, folder)
        return ResultSet("done", "", "", model.facts.demonstration, results, dict(analysis.timings_s))

    def _refuse(
        self, images: list[Instance], refused: Refused, state: str, model: ModelFacts | None, run: Run, folder: Path
    ) -> ResultSet:
        from dicom_node.report import write_refusal

        for path in folder.iterdir():
            path.unlink()
        results: tuple[Result, ...] = ()
        try:
            results = write_refusal(images, refused, model, run, folder)
        except Refused as unanswerable:  # no image can be read, or the patient not be named: there is only the ledger
            log.warning("no answer can be attached", run_id=folder.name, code=unanswerable.code, refused=refused.code)
        spoke = [model] if model else [one.facts for one in self._models.values()]
        demonstration = all(facts.demonstration for facts in spoke)
        return ResultSet(state, refused.code, refused.reason, demonstration, results)

    def _tell_decoded(self, work: Work, images: list[Instance]) -> None:
        """Write down how many compressed images need no decoding any more."""
        encoded = [image for image in images if image.pixel_path or image.pixel_offset < 0]
        if encoded:
            ready = f"{sum(bool(image.pixel_path) for image in encoded)} of {len(encoded)} compressed images"
            self._ledger.tell(work.study_instance_uid, "decoded-on-arrival", run_id=work.run_id, text=ready)
