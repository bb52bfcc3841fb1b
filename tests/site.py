"""Index, ledger and coordinator of a node without its processes; the tests tell the time."""

from __future__ import annotations

import subprocess
import sys

from dicom_node.config import Settings
from dicom_node.coordinate import Coordinator
from dicom_node.index import Arrival, Association, Index
from dicom_node.ledger import Ledger
from inference.facts import Instance
from tests.studies import STUDY

BUNDLE = "b" * 64


class Site:
    """Index, ledger and coordinator of a node that has no worker yet; time is told."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.index = Index(settings.index_file)
        self.ledger = Ledger(settings.index_file)
        self.start()

    def start(self, bundle: str = BUNDLE) -> None:
        self.coordinator = Coordinator(self.settings, dict.fromkeys(self.settings.bundles, bundle))

    def arrive(self, instances: list[Instance], at: float, association: str = "") -> None:
        """All of them at once; over an association that stays open until ``release``, where one is named."""
        sender = Association(association, 0, "SCANNER", "127.0.0.1", at) if association else None
        self.index.add([Arrival(i, at, sender) for i in instances])

    def release(self, association: str) -> None:
        self.index.add(released=[association])

    def tick_until(self, start: float, end: float, every_s: float = 0.5) -> None:
        """Let the time pass, from ``start`` to ``end``."""
        for n in range(int((end - start) / every_s) + 1):
            self.coordinator.tick(start + n * every_s)

    def runs(self, study: str = STUDY) -> list[str]:
        return [str(r["run_id"]) for r in self.ledger.runs(study)]

    def states(self, study: str = STUDY) -> list[str]:
        return [str(r["state"]) for r in self.ledger.runs(study)]

    def close(self) -> None:
        self.index.close()
        self.ledger.close()


def make_queue(settings: Settings) -> None:
    """The engine's tables, as the worker makes them; in a process of its own, for it configures logging and threads."""
    program = "import sys; from dbos import run_dbos_database_migrations as m; m(system_database_url=sys.argv[1])"
    subprocess.run([sys.executable, "-c", program, settings.workflow_url], check=True, timeout=120, capture_output=True)
