"""An Orthanc of one's own: started in a folder, on free loopback ports, and ended with the block that uses it.

The demo and the tests talk to it as they would to a hospital's archive.  It is a real Orthanc with its DICOMweb
plugin, never the one that Debian starts on 8042 and 4242.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

import httpx

from dicom_node.demo.ending import end
from inference.facts import Refused

PLUGIN_FOLDER = Path("/usr/share/orthanc/plugins")
PLUGINS = ("libOrthancDicomWeb.so", "libOrthancGdcm.so")
START_LIMIT_S = 60.0
STOP_LIMIT_S = 15.0
ATTEMPTS = 3  # another process may take a free port between our look and Orthanc's bind


def free_port() -> int:
    """A TCP port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def orthanc_program() -> str:
    """Path of the Orthanc server: ``$ORTHANC``, else the one installed.

    Raises ``Refused`` (orthanc-not-installed) where there is none.
    """
    named = os.environ.get("ORTHANC")
    found = shutil.which(named or "Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        where = f"$ORTHANC = {named}" if named else "on the PATH or in /usr/sbin"
        raise Refused(
            "orthanc-not-installed",
            f"No Orthanc server was found ({where}). "
            "Install it with: apt-get install orthanc orthanc-dicomweb orthanc-gdcm.",
        )
    return found


class PrivateOrthanc:
    """Context manager: an Orthanc that keeps its storage, configuration and log in ``folder``.

    ``peers`` are the AE titles that may send to it by C-STORE, from this machine only (Orthanc cannot bind its DICOM
    port to loopback alone, so it checks the sender's address).  ``aet``: its own title.  Several may run at once.
    Raises ``Refused`` with orthanc-not-installed or orthanc-not-started; the log is ``folder/orthanc.log``.
    """

    def __init__(self, folder: Path, *, peers: tuple[str, ...] = ("PETCTNODE",), aet: str = "ORTHANC") -> None:
        self.folder = folder
        self.peers = peers
        self.aet = aet
        self.log = folder / "orthanc.log"
        self.http_port = 0
        self.dicom_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def http_url(self) -> str:
        """Address of its REST interface and of its web page, without a slash at the end."""
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def dicomweb_url(self) -> str:
        """Root of its DICOMweb services."""
        return f"{self.http_url}/dicom-web"

    @property
    def pid(self) -> int | None:
        """Process id while it runs."""
        return self._process.pid if self._process else None

    def __enter__(self) -> PrivateOrthanc:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it answers.  After ``stop`` it may be started again: same ports, same storage."""
        program = orthanc_program()
        self.folder.mkdir(parents=True, exist_ok=True)
        choose_ports = self.http_port == 0
        for _ in range(ATTEMPTS if choose_ports else 1):
            if choose_ports:
                self.http_port, self.dicom_port = free_port(), free_port()
            configuration = self.folder / "orthanc.json"
            configuration.write_text(json.dumps(self._configuration(), indent=1))
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(
                    [program, str(configuration)],
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    stdin=subprocess.DEVNULL,
                    # without TCP_NODELAY DCMTK's network code crawls at 4-5 MB/s
                    env={**os.environ, "TCP_NODELAY": "1"},
                    start_new_session=True,  # Ctrl-C is for us: we end it in order
                )
            try:
                if self._ready():
                    return
            except BaseException:  # also Ctrl-C: it may not outlive us
                self.stop()
                raise
            self.stop()
        raise Refused(
            "orthanc-not-started",
            f"Orthanc did not answer within {START_LIMIT_S:.0f} s; its log is {self.log}.",
            log=str(self.log),
        )

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not within ``STOP_LIMIT_S``."""
        process, self._process = self._process, None
        end(process, STOP_LIMIT_S)

    def _ready(self) -> bool:
        limit = time.monotonic() + START_LIMIT_S
        while time.monotonic() < limit and self._process is not None and self._process.poll() is None:
            try:
                if httpx.get(f"{self.http_url}/system", timeout=2.0).status_code == 200:
                    return True
            except httpx.TransportError:
                pass
            time.sleep(0.05)
        return False

    def _configuration(self) -> dict[str, object]:
        storage = str(self.folder / "storage")
        plugins = [str(PLUGIN_FOLDER / name) for name in PLUGINS if (PLUGIN_FOLDER / name).exists()]
        return {
            "Name": "petct-node",
            "StorageDirectory": storage,
            "IndexDirectory": storage,
            "HttpPort": self.http_port,
            "DicomPort": self.dicom_port,
            "DicomAet": self.aet,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "DicomAlwaysAllowStore": False,
            "DicomAlwaysAllowEcho": False,
            "DicomCheckModalityHost": True,
            "DicomModalities": {peer: [peer, "127.0.0.1", 104] for peer in self.peers},
            "SaveJobs": False,
            "Plugins": plugins,
            "DicomWeb": {
                "Enable": True,
                "Root": "/dicom-web/",
                "EnableWado": True,
                "WadoRoot": "/wado",
                "StudiesMetadata": "Full",
                "SeriesMetadata": "Full",
            },
        }
