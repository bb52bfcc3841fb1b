"""Target: the bytes of one file → an ``Instance`` or a refusal.  Nothing else may happen, and not for long."""

from __future__ import annotations

import json
import time

from dicom_node.errors import ROWS
from inference.facts import Instance, Refused
from inference.reading.instance import read_buffer
from inference.reading.part10 import DEFLATED, UID

# CPU seconds for a file of at most 1 MiB: a slice takes 0.3 ms, all elements that a MiB can hold about 0.5 s
LONGEST_S = 5.0
# An attribute costs at most so many times its bytes in the file: the index keeps the attributes as JSON
MOST_JSON = 40
MOST_JSON_DEFLATED = 1 << 26


def try_header(data: bytes) -> Refused | None:
    """Read the file.  AssertionError, or any other exception, is a finding; the refusal is returned."""
    began = time.process_time()
    refused = None
    try:
        instance = read_buffer(data, "")
    except Refused as answer:
        refused = answer
    else:
        _check(instance, data)
    assert time.process_time() - began < LONGEST_S, "too slow"
    if refused is not None:
        assert refused.code in ROWS, f"{refused.code} is not in the table"
        json.dumps(refused.facts, allow_nan=False).encode()  # what the spool writes beside a file set aside
    return refused


def _check(instance: Instance, data: bytes) -> None:
    text = json.dumps(instance.attributes, allow_nan=False, ensure_ascii=False).encode()  # what the index keeps
    deflated = instance.transfer_syntax_uid == DEFLATED
    assert len(text) <= (MOST_JSON_DEFLATED if deflated else MOST_JSON * (len(data) + 1000))
    for uid in (instance.sop_class_uid, instance.sop_instance_uid, instance.study_instance_uid):
        assert UID.fullmatch(uid)
    assert isinstance(instance.modality, str)
    if instance.pixel_offset >= 0:
        assert 0 < instance.pixel_offset <= instance.pixel_offset + instance.pixel_length <= len(data)
