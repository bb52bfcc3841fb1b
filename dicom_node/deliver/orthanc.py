"""Deliver to an Orthanc through its REST API, with orthanc-api-client.

The library has no time-out of its own, repeats requests (also POST) up to four times, and lets some transport errors
pass as ``None``; the door below closes these gaps.  Both requests used here, uploading an instance and looking one up,
may be repeated without harm.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import requests
from orthanc_api_client import OrthancApiClient
from orthanc_api_client.exceptions import HttpError, OrthancApiException

from dicom_node.deliver.errors import Answer, Undelivered
from dicom_node.sections import OrthancDestination
from inference.facts import Result

OF_THE_OBJECT = frozenset({400, 413, 415})  # Bad Request, Content Too Large, Unsupported Media Type


class _Client(OrthancApiClient):  # type: ignore[misc]  # the library is not typed
    """Every request has a time-out and an answer, or raises."""

    def __init__(self, destination: OrthancDestination) -> None:
        password = destination.password.get_secret_value() if destination.password else None
        root = destination.url.rstrip("/") + "/"  # without the slash a path in the URL would be cut off
        super().__init__(root, user=destination.username, pwd=password)
        self._timeout_s = destination.timeout_s

    def get(self, endpoint: str, **kwargs: Any) -> requests.Response:
        return self._answered(super().get(endpoint, **{"timeout": self._timeout_s} | kwargs))

    def post(self, endpoint: str, **kwargs: Any) -> requests.Response:
        return self._answered(super().post(endpoint, **{"timeout": self._timeout_s} | kwargs))

    @staticmethod
    def _answered(response: requests.Response | None) -> requests.Response:
        if response is None:
            raise requests.ConnectionError("the connection broke off in the middle of the answer")
        return response


@contextmanager
def _open(destination: OrthancDestination) -> Iterator[_Client]:
    client = _Client(destination)
    try:
        yield client
    except (OrthancApiException, requests.RequestException) as error:
        raise Undelivered(f"Orthanc {destination.name} ({destination.url}): {_reason(error)}") from error
    finally:
        client.close()


def _reason(error: Exception) -> str:
    status = getattr(error, "http_status_code", None)
    text = str(getattr(error, "msg", "") or error)
    return f"HTTP {status}, {text}" if status else text


def upload(results: Sequence[Result], destination: OrthancDestination, begin: Callable[[], None]) -> tuple[Answer, ...]:
    """Upload each file, in the order given.  ``begin`` is called once Orthanc answers.  Raises Undelivered."""
    with _open(destination) as client:
        client.get("system")
        begin()
        return tuple(_answer(client, result) for result in results)


def _answer(client: _Client, result: Result) -> Answer:
    """Its site can have a filter, which drops what it does not want; what lies before it may take no large files."""
    try:
        response = client.post("instances", data=result.path.read_bytes())
    except HttpError as error:
        if error.http_status_code not in OF_THE_OBJECT:
            raise
        return Answer(False, f"answered HTTP {error.http_status_code}", final=True)
    status = str(response.json().get("Status", ""))
    dropped = status == "FilteredOut"
    return Answer(not dropped, f"answered {status}", final=dropped)


def read_back(results: Sequence[Result], destination: OrthancDestination) -> tuple[bool, ...]:
    """For each result whether Orthanc holds exactly these bytes (True), or others under the same UID (False).

    Raises Undelivered where it does not answer or lacks one.
    """
    with _open(destination) as client:
        return tuple(_same_bytes(client, result, destination) for result in results)


def _same_bytes(client: _Client, result: Result, destination: OrthancDestination) -> bool:
    found = client.lookup(result.sop_instance_uid, filter="Instance")
    if not found:
        raise Undelivered(f"Orthanc {destination.name} ({destination.url}) does not hold the {result.kind} object.")
    stored: bytes = client.get(f"instances/{found[0]}/file").content
    return stored == result.path.read_bytes()
