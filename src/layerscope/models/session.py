"""ONNX graphs, opened to run on the processor.

Nothing in a file is executed but the operators of its graph. A pickle (``.pt``, ``.pth``,
``.pkl``) is refused: loading one runs whatever code its author put in.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from layerscope.errors import UnreadableFile

_MOST_BYTES = 2_000_000_000  # what one protobuf message can hold
_WEIGHTS_ELSEWHERE = "session.model_external_initializers_file_folder_path"
_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


def read_content(file: Path) -> bytes:
    """Bytes of a model file.

    Raises
    ------
    UnreadableFile
        If it is missing, too large or a pickle.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise UnreadableFile(f"{file.name}: over {_MOST_BYTES / 1e9:g} GB; no model is")
        content = file.read_bytes()
    except OSError as reason:
        raise UnreadableFile(f"cannot read model {file}: {reason.strerror}") from None
    if content.startswith(_PICKLES):
        raise UnreadableFile(
            f"{file.name}: a pickle or archive, which could run code of its author; convert the"
            " weights to .safetensors or ONNX where you trust them"
        )
    return content


def session_of(content: bytes, file: Path, threads: int) -> Any:
    """Open the graph in the bytes of `file`.

    Raises
    ------
    UnreadableFile
        If ONNX Runtime cannot.
    """
    try:
        return open_session(content, threads)
    except Exception as reason:  # ONNX Runtime's classes of errors have no common public parent
        raise UnreadableFile(
            f"{file.name}: no model that ONNX Runtime can open ({type(reason).__name__});"
            " truncated, or of another type"
        ) from None


def open_session(content: bytes, threads: int = 1) -> Any:
    """Open an ONNX graph on the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    # Patterns keep one more block as large as all of the last run's: 1.6 instead of 0.9 GB for a
    # window of 1536 x 1536 px in a U-Net on ResNet-18, and no faster. Without the arena memory is
    # the same and 1280 x 720 px take 1.6 to 2.8 times as long, cleared page by page.
    options.enable_mem_pattern = False
    # A graph may name other files as its weights, and would read them from the working folder.
    options.add_session_config_entry(_WEIGHTS_ELSEWHERE, os.devnull)
    return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
