"""Files of published weights: where they are, fetched once, whole, and checked.

Nothing is downloaded unless a source is asked for by name or address.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from layerscope.errors import CannotWrite, InputError, UnknownName, UnreadableFile

_TORCH_FILES = "https://download.pytorch.org/models/"
_CADENE_FILES = "http://data.lip6.fr/cadene/pretrainedmodels/"
_MICRONET_FILES = "https://nasa-public-data.s3.amazonaws.com/microscopy_segmentation_models/"


@dataclass(frozen=True)
class Source:
    """Where published weights of an encoder are.

    Parameters
    ----------
    url : str
    sha256 : str
        First digits of the checksum, as published; empty where the publisher gives none.
    about : str
        Data and licence, as the publisher states them.
    """

    url: str
    sha256: str
    about: str


def _torchvision(stem: str, digits: str) -> Source:
    about = "ImageNet-1k, torchvision, BSD-3-Clause"
    return Source(f"{_TORCH_FILES}{stem}-{digits}.pth", digits, about)


def _cadene(stem: str, digits: str) -> Source:
    about = "ImageNet-1k, pretrained-models.pytorch, BSD-3-Clause"
    return Source(f"{_CADENE_FILES}{stem}-{digits}.pth", digits, about)


def _micronet(stem: str, data: str, version: str = "1.0") -> Source:
    before = "ImageNet-1k, then " if data.startswith("imagenet") else ""
    about = f"{before}MicroNet (over 100 000 micrographs), NASA, MIT"
    return Source(f"{_MICRONET_FILES}{stem}_pretrained_{data}_v{version}.pth.tar", "", about)


_MICRONET_STEMS = {
    "resnet18": "resnet18",
    "resnet34": "resnet34",
    "resnet50": "resnet50",
    "se-resnext50": "se_resnext50_32x4d",
    "se-resnext101": "se_resnext101_32x4d",
}

# dataset -> encoder -> source
SOURCES: Mapping[str, Mapping[str, Source]] = {
    "imagenet": {
        "resnet18": _torchvision("resnet18", "f37072fd"),
        "resnet34": _torchvision("resnet34", "b627a593"),
        "resnet50": _torchvision("resnet50", "0676ba61"),
        "se-resnext50": _cadene("se_resnext50_32x4d", "a260b3a4"),
        "se-resnext101": _cadene("se_resnext101_32x4d", "3b2fe3d8"),
        "efficientnet-b0": _torchvision("efficientnet_b0_rwightman", "7f5810bc"),
        "convnext-tiny": _torchvision("convnext_tiny", "983f1562"),
        "mobilenetv3-large": _torchvision("mobilenet_v3_large", "8738ca79"),
        "mobilenetv3-small": _torchvision("mobilenet_v3_small", "047dcff4"),
    },
    "micronet": {
        name: _micronet(stem, "microscopynet", "1.1" if name == "resnet50" else "1.0")
        for name, stem in _MICRONET_STEMS.items()
    },
    "imagenet-micronet": {
        name: _micronet(stem, "imagenet-microscopynet") for name, stem in _MICRONET_STEMS.items()
    },
}


def find_weights(
    encoder: str, dataset: str, *, folder: str | Path | None = None, download: bool = True
) -> Path:
    """File of published weights, downloaded once if it is not there yet.

    Parameters
    ----------
    encoder : str
        Name of `layerscope.training.networks.ENCODERS`.
    dataset : str
        ``"imagenet"``, ``"micronet"`` or ``"imagenet-micronet"``.
    folder : path, optional
        Where files are kept: by default ``$LAYERSCOPE_WEIGHTS``, else
        ``~/.cache/layerscope/weights``. A file that is put there by hand is found too.
    download : bool
        False: never ask the network.

    Raises
    ------
    UnknownName
        No such dataset, or none for this encoder.
    UnreadableFile
        The address does not answer, or the checksum is not the published one.
    """
    if dataset not in SOURCES:
        raise UnknownName.of("dataset of weights", dataset, SOURCES)
    if encoder not in SOURCES[dataset]:
        raise UnknownName.of(f"encoder with {dataset} weights", encoder, SOURCES[dataset])
    source = SOURCES[dataset][encoder]
    path = weights_folder(folder) / source.url.rsplit("/", 1)[-1]
    if path.is_file():
        _check(path, source.sha256)
    elif download:
        fetch(source.url, path, source.sha256)
    else:
        raise UnreadableFile(f"{path}: not there; download {source.url} and put it there")
    return path


def is_address(weights: str | Path) -> bool:
    """Whether `weights` is an address on a network, not a name or a path."""
    return isinstance(weights, str) and re.match(r"(https?|file)://", weights) is not None


def weights_at(address: str, *, folder: str | Path | None = None) -> Path:
    """File of the weights at an address, downloaded once.

    Parameters
    ----------
    address : str
        ``https://host/name.pth``, and behind a ``#`` the first digits of its sha256.
    folder : path, optional
        As in `find_weights`.

    Raises
    ------
    UnreadableFile
        The address does not answer, or the checksum is another.
    """
    url, _, digits = address.partition("#")
    place = hashlib.sha256(url.encode()).hexdigest()[:8]
    path = weights_folder(folder) / f"{place}-{url.rsplit('/', 1)[-1]}"
    if not path.is_file():
        return fetch(url, path, digits)
    _check(path, digits)
    return path


def weights_folder(folder: str | Path | None = None) -> Path:
    """Folder of downloaded weights; see `find_weights`."""
    if folder is not None:
        return Path(folder)
    given = os.environ.get("LAYERSCOPE_WEIGHTS")
    return Path(given) if given else Path.home() / ".cache" / "layerscope" / "weights"


def fetch(url: str, path: str | Path, sha256: str = "") -> Path:
    """Download `url` to `path`: whole and with that checksum, or not at all.

    Parameters
    ----------
    url : str
        http, https or file address.
    path : path
        Where to. Folders are made.
    sha256 : str
        First digits (or all) of the checksum; empty: any content.

    Raises
    ------
    UnreadableFile
        The address does not answer, or the content has another checksum.
    CannotWrite
        No room or no permission.
    """
    path = Path(path)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(url, part)
            _check(part, sha256, url)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise CannotWrite(f"{path}: cannot keep weights there ({error.strerror})") from None
    return path


def checksum(path: str | Path) -> str:
    """Compute the sha256 of a file, in hexadecimal digits."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _download(url: str, part: Path) -> None:
    import shutil
    import urllib.request
    from http.client import HTTPException
    from urllib.error import URLError

    if not is_address(url):
        raise InputError(f"{url!r}: an address of weights starts with https://, http:// or file://")
    try:
        stream = urllib.request.urlopen(url, timeout=60)
    except (URLError, HTTPException, TimeoutError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise UnreadableFile(f"{url}: no answer ({reason}); give a path instead") from None
    with stream, part.open("wb") as out:
        try:
            shutil.copyfileobj(stream, out)
        except (HTTPException, TimeoutError, ConnectionError) as error:
            raise UnreadableFile(f"{url}: broke off ({error}); try again") from None
    expected = stream.headers.get("Content-Length")
    if expected is not None and part.stat().st_size != int(expected):
        raise UnreadableFile(f"{url}: broke off at {part.stat().st_size} of {expected} bytes")


def _check(path: Path, sha256: str, name: str = "") -> None:
    found = checksum(path)
    if not found.startswith(sha256.lower()):
        raise UnreadableFile(
            f"{name or path}: sha256 begins with {found[: len(sha256)]}, published is {sha256}; "
            "remove the file and download it again"
        )


__all__ = [
    "SOURCES",
    "Source",
    "checksum",
    "fetch",
    "find_weights",
    "is_address",
    "weights_at",
    "weights_folder",
]
