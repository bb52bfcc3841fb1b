"""The node as a child process, for the demo and for tests: `petct-node serve` in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

from dicom_node.deliver.association import echo
from dicom_node.demo.ending import end
from inference.facts import Refused

START_LIMIT_S = 60.0
STOP_LIMIT_S = 40.0  # longer than the node gives its own processes
PROGRAM = "from dicom_node.cli import main; main()"
FOREIGN_SETTINGS = "PETCT_NODE__"
KEPT_SETTINGS = "PETCT_NODE__INFER__"  # which device and how many threads is for the user to say


class NodeProcess:
    """Context manager: a node that keeps configuration, state and log in ``folder`` and delivers to one Orthanc.

    It listens on a free port of loopback, known once it runs.  ``more``: further lines of its TOML configuration.
    Raises ``Refused`` (node-not-started); the log is ``folder/node.log``.
    """

    def __init__(self, folder: Path, orthanc_url: str, *, more: str = "") -> None:
        self.folder = folder
        self.config_file = folder / "petct-node.toml"
        self.data_dir = folder / "data"
        self.log = folder / "node.log"
        self.port = 0
        self.ae_title = "PETCTNODE"
        self._orthanc_url = orthanc_url
        self._more = more
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> NodeProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def index_file(self) -> Path:
        """SQLite file with the story of each study."""
        return self.data_dir / "index.sqlite"

    def result_folder(self, run_id: str) -> Path:
        """Where the node keeps the files of a run."""
        return self.data_dir / "results" / run_id

    @property
    def state(self) -> Mapping[str, object]:
        """The node's own account (node.json): address, process ids; empty before it is ready."""
        try:
            found: Mapping[str, object] = json.loads((self.data_dir / "node.json").read_text())
        except FileNotFoundError:
            return {}
        return found

    @property
    def is_alive(self) -> bool:
        """Whether its supervisor runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers a C-ECHO."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self._configuration())
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "serve", "--config", str(self.config_file)],
                stdout=log,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=_environment(),
                start_new_session=True,  # Ctrl-C is for us: we end it in order
            )
        try:
            self._wait_until_ready()
        except BaseException:  # also Ctrl-C: it may not outlive us
            self.stop()
            raise

    def _wait_until_ready(self) -> None:
        limit = time.monotonic() + START_LIMIT_S
        while self.is_alive and time.monotonic() < limit:
            state = self.state
            if state and self._process is not None and state["pid"] == self._process.pid:
                self.port = int(str(state["port"]))
                if echo("127.0.0.1", self.port, called_aet=self.ae_title):
                    return
            time.sleep(0.1)
        raise Refused(
            "node-not-started",
            f"The node did not answer a C-ECHO within {START_LIMIT_S:.0f} s, or ended; its log is {self.log}.",
            log=str(self.log),
        )

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not within ``STOP_LIMIT_S``."""
        process, self._process = self._process, None
        end(process, STOP_LIMIT_S)

    def _configuration(self) -> str:
        # a JSON string is a TOML basic string
        return f"""[node]
data_dir = {json.dumps(str(self.data_dir.absolute()))}
serial = "demo"

[receive]
host = "127.0.0.1"
port = 0
ae_title = "{self.ae_title}"

[[deliver.destinations]]
kind = "orthanc"
name = "orthanc"
url = {json.dumps(self._orthanc_url)}

{self._more}"""


def _environment() -> dict[str, str]:
    """Ours, without settings meant for another node: they would override the file."""
    return {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(FOREIGN_SETTINGS) or key.startswith(KEPT_SETTINGS)
    }
