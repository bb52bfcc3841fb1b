"""A bundle: a model that can be served.  Read, checked, and never executed.

Folder layout and metadata fields are those of a MONAI Bundle; what we serve by stands under ``petct_node``::

    configs/metadata.json   MONAI's fields and ours
    models/member_0.safetensors … one per ensemble member, and applicability.safetensors
    models/head_0.onnx …        where features are turned into scores apart (``inference.model.head``)
    docs/README.md          the model card
    manifest.json           SHA-256 and size of every file; its own SHA-256 is the bundle's digest

MONAI's ConfigParser runs code from a bundle's JSON, and pickles run code too: neither is ever used.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field, ValidationError

from inference.facts import Refused
from inference.model.head import check_head
from inference.model.inputs import settings_digest
from inference.model.look import needs_region
from inference.model.served import CONTRACT, Frozen, Served

Weights = Mapping[str, npt.NDArray[Any]]

SCHEME = "99PETCTNODE"
PACKAGED = Path(__file__).parents[1] / "bundles"
MANIFEST = "manifest.json"
METADATA = "configs/metadata.json"
MODEL_CARD = "docs/README.md"
STATISTICS = "models/applicability.safetensors"
LARGEST_BUNDLE_BYTES = 2 * 1024**3
LARGEST_MANIFEST_BYTES = 1024**2
_FILE_NAME = re.compile(r"(configs|docs|models)/[A-Za-z0-9_][A-Za-z0-9_.-]*")
_BUNDLE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class _Entry(Frozen):
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int = Field(ge=0)


class _Manifest(Frozen):
    files: dict[str, _Entry]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle read from disk whose every file is what its manifest says.

    ``digest``: SHA-256 (hex) of the manifest.  ``members``: name → array, one mapping per member, checked against each
    other but not yet against the network.  ``statistics``: arrays of ``inference.model.applicability``, or None.
    ``heads``: ONNX files whose operators are checked, not yet loaded.
    """

    path: Path
    digest: str
    served: Served
    members: tuple[Weights, ...]
    statistics: Weights | None
    heads: tuple[bytes, ...] = ()


def find_bundle(name_or_path: str, *, search: Sequence[Path] = ()) -> Path:
    """The folder of a bundle: its name in the ``search`` folders, then among those shipped, else a path.

    Raises ``Refused`` ``bundle-not-found``.
    """
    candidates = [Path(name_or_path)]
    if _BUNDLE_NAME.fullmatch(name_or_path):
        candidates = [folder / name_or_path for folder in (*search, PACKAGED)] + candidates
    for folder in candidates:
        if (folder / MANIFEST).is_file():
            return folder
    raise Refused(
        "bundle-not-found",
        f"There is no bundle '{name_or_path}': give the name of a shipped one, or the folder that holds {MANIFEST}.",
        searched=[str(folder) for folder in candidates],
    )


def load_bundle(path: Path) -> Bundle:
    """Read and check a bundle; every byte used is one whose digest was checked.

    Raises ``Refused``: ``bundle-not-found``, ``bundle-manifest``, ``bundle-too-large``, ``bundle-altered``,
    ``bundle-metadata``, ``bundle-preprocessing``, ``bundle-weights``, ``bundle-head``.
    """
    manifest, digest = _read_manifest(path)
    files = {name: _read_checked(path, name, entry) for name, entry in manifest.files.items()}
    served = _served(files[METADATA])
    if served.input_digest != settings_digest(served.input):
        raise Refused(
            "bundle-preprocessing",
            "The bundle was trained on inputs that this version of the node computes differently; use the version that "
            "trained it, or train it again.",
            expected=served.input_digest,
            found=settings_digest(served.input),
        )
    names = [f"models/member_{i}.safetensors" for i in range(served.members)]
    missing = [name for name in names if name not in files]
    if missing:
        raise Refused("bundle-weights", f"The bundle lacks {missing[0]}; use a complete bundle.")
    members = tuple(_tensors(files[name], name) for name in names)
    statistics = _tensors(files[STATISTICS], STATISTICS) if STATISTICS in files else None
    return Bundle(path, digest, served, members, statistics, _heads(files, served))


def read_contract(path: Path) -> tuple[Served, str]:
    """What a bundle says of itself, and its digest; its other files are not read, so they are not checked either.

    Raises ``Refused``: ``bundle-not-found``, ``bundle-manifest``, ``bundle-too-large``, ``bundle-altered``,
    ``bundle-metadata``.
    """
    manifest, digest = _read_manifest(path)
    return _served(_read_checked(path, METADATA, manifest.files[METADATA])), digest


def save_bundle(
    out: Path,
    served: Served,
    members: Sequence[Weights],
    statistics: Weights | None,
    *,
    model_card: str,
    heads: Sequence[bytes] = (),
) -> str:
    """Write a bundle folder in one step (it appears whole or not at all) and return its digest.

    An older bundle at ``out`` is replaced; any other folder with content is left alone (``Refused`` ``bundle-out``).
    The same arguments give the same bytes.
    """
    from safetensors.numpy import save

    if out.exists() and any(out.iterdir()) and not (out / MANIFEST).is_file():
        raise Refused("bundle-out", "The output folder holds other files; give an empty or a new folder.", out=str(out))
    files = {f"models/member_{i}.safetensors": save(dict(weights)) for i, weights in enumerate(members)}
    files |= {f"models/head_{i}.onnx": head for i, head in enumerate(heads)}
    if statistics is not None:
        files[STATISTICS] = save(dict(statistics))
    files[METADATA] = _json(_metadata(served))
    files[MODEL_CARD] = model_card.encode()
    manifest = _json(
        {"files": {n: {"sha256": hashlib.sha256(b).hexdigest(), "bytes": len(b)} for n, b in files.items()}}
    )

    partial = out.with_name(out.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    for name, content in {**files, MANIFEST: manifest}.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        (partial / name).write_bytes(content)
    if out.exists():
        shutil.rmtree(out)
    partial.rename(out)
    return hashlib.sha256(manifest).hexdigest()


def _read_manifest(path: Path) -> tuple[_Manifest, str]:
    file = path / MANIFEST
    if not file.is_file():
        raise Refused("bundle-not-found", f"The folder holds no {MANIFEST}, so it is no bundle.", path=str(path))
    if file.stat().st_size > LARGEST_MANIFEST_BYTES:
        raise Refused("bundle-too-large", f"{MANIFEST} is larger than any bundle needs; use a complete bundle.")
    content = file.read_bytes()
    try:
        manifest = _Manifest.model_validate_json(content)
    except ValidationError as fault:
        raise Refused("bundle-manifest", f"{MANIFEST} is not what it must be; use a complete bundle.") from fault
    strange = [name for name in manifest.files if not _FILE_NAME.fullmatch(name)]
    if strange or METADATA not in manifest.files:
        raise Refused("bundle-manifest", f"{MANIFEST} must list {METADATA} and files of configs, docs and models only.")
    if sum(entry.bytes for entry in manifest.files.values()) > LARGEST_BUNDLE_BYTES:
        raise Refused("bundle-too-large", f"The bundle is larger than {LARGEST_BUNDLE_BYTES >> 30} GiB.")
    listed = {*manifest.files, MANIFEST}
    unlisted = [f for f in sorted(path.rglob("*")) if not f.is_dir() and f.relative_to(path).as_posix() not in listed]
    if unlisted:
        raise Refused("bundle-altered", f"The bundle holds '{unlisted[0].name}', which its manifest does not list.")
    return manifest, hashlib.sha256(content).hexdigest()


def _read_checked(path: Path, name: str, entry: _Entry) -> bytes:
    """The file's bytes; its size is compared before they are read."""
    file = path / name
    if not file.is_file() or file.is_symlink() or file.stat().st_size != entry.bytes:
        raise Refused("bundle-altered", f"{name} is missing or not of the size the manifest states; fetch it again.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise Refused("bundle-altered", f"{name} is not the file the manifest was written for; fetch it again.")
    return content


def _served(content: bytes) -> Served:
    try:
        return Served.model_validate(json.loads(content)["petct_node"])
    except ValidationError as fault:
        where = ".".join(str(part) for part in fault.errors()[0]["loc"])
        reason = f"{METADATA}: '{where}' is wrong: {fault.errors()[0]['msg']}. Use a bundle made for this version."
        raise Refused("bundle-metadata", reason) from fault
    except (ValueError, KeyError, TypeError) as fault:
        raise Refused("bundle-metadata", f"{METADATA} has no readable part 'petct_node'.") from fault


def _heads(files: Mapping[str, bytes], served: Served) -> tuple[bytes, ...]:
    names = [f"models/head_{i}.onnx" for i in range(served.heads)]
    if missing := [name for name in names if name not in files]:
        raise Refused("bundle-head", f"The bundle lacks {missing[0]}; use a complete bundle.")
    for name in names:
        check_head(files[name], name)
    return tuple(files[name] for name in names)


def _tensors(content: bytes, name: str) -> Weights:
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        tensors = load(content)
    except (SafetensorError, KeyError, ValueError) as fault:
        raise Refused("bundle-weights", f"{name} is no safetensors file; use a complete bundle.") from fault
    for tensor in tensors.values():
        if tensor.dtype not in (np.dtype(np.float32), np.dtype(np.int64)) or not np.isfinite(tensor).all():
            raise Refused("bundle-weights", f"{name} must hold finite float32 (or int64) values only.")
    return tensors


def _metadata(served: Served) -> dict[str, Any]:
    """MONAI Bundle's metadata fields, with ours under ``petct_node``."""
    channels = dict(enumerate(served.input.channels))
    of_what = "one lesion" if needs_region(served.input) else "the whole body"
    image = {
        "type": "image",
        "format": f"{served.images} {'region' if needs_region(served.input) else 'whole body'}",
        "modality": "PT, CT" if served.images == "PET/CT" else "CT",
        "num_channels": len(channels),
        "spatial_shape": list(served.input.shape),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": False,
        "channel_def": channels,
    }
    prediction = {
        "type": "probabilities",
        "format": "classes",
        "num_channels": 2,
        "spatial_shape": [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": False,
        "channel_def": {0: f"no {served.target}", 1: served.target},
    }
    return {
        "version": served.version,
        "changelog": {served.version: "first"},
        "monai_version": installed_version("monai"),
        "pytorch_version": installed_version("torch"),
        "numpy_version": installed_version("numpy"),
        "required_packages_version": {"safetensors": installed_version("safetensors")},
        "name": served.name,
        "task": f"{served.target} from the {served.images} of {of_what}",
        "description": served.statement,
        "authors": "petct-node",
        "copyright": "Apache-2.0",
        "intended_use": served.intended_use,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": prediction}},
        "petct_node": served.model_dump(mode="json", exclude=_unsaid(served)),
    }


def _unsaid(served: Served) -> set[str]:
    """Parts of the contract that say nothing: they are not written, so that a bundle without them keeps its digest."""
    return {key for key in CONTRACT if getattr(served, key) == Served.model_fields[key].default}


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()
