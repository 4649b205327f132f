"""Dask workers as jobs of a SLURM cluster, through dask-jobqueue."""

from __future__ import annotations

import logging
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from layerscope.errors import InputError, MissingExtra

_JOBQUEUE = {
    "partition": "queue",
    "account": "account",
    "time": "walltime",
    "mem": "job_mem",
    "cpus-per-task": "job_cpu",
    "cores": "cores",
    "processes": "processes",
    "memory": "memory",
    "interface": "interface",
    "python": "python",
    "local-directory": "local_directory",
    "log-directory": "log_directory",
    "death-timeout": "death_timeout",
}
_NUMBERS = ("cores", "processes", "job_cpu")
_DEFAULTS = {"cores": 1, "memory": "2GB"}
"""A Dask worker and its child on images of 2 Mpixel need 0.7 GB together."""


def start(jobs: int, options: Sequence[str]) -> Any:
    """Start a scheduler here and submit jobs; those that end early are replaced.

    Parameters
    ----------
    jobs : int
    options : sequence of str
        ``key=value``. Names of jobqueue (``interface``, ``python``, ``log-directory`` ...) and
        otherwise long options of ``sbatch`` (``partition``, ``time``, ``mem``, ``qos`` ...). What
        is not given comes from Dask's configuration file.

    Returns
    -------
    dask_jobqueue.SLURMCluster

    Raises
    ------
    MissingExtra
        If dask-jobqueue is not installed.
    InputError
        If there is no ``sbatch`` or it refuses the job.
    """
    cluster = make_cluster(options)
    try:
        _try(cluster.job_script())
        cluster.adapt(minimum_jobs=jobs, maximum_jobs=jobs)
    except BaseException:
        cluster.close()
        raise
    return cluster


def make_cluster(options: Sequence[str]) -> Any:
    """Start a scheduler for SLURM jobs, without any job yet; see `start`."""
    before = signal.getsignal(signal.SIGINT)
    try:
        import dask
        from dask_jobqueue import SLURMCluster
    except ImportError:
        raise MissingExtra.of("--scheduler slurm", "cluster") from None
    # Importing jobqueue 0.9 makes Ctrl-C end the process at once, as if all were well.
    signal.signal(signal.SIGINT, before)
    page = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    own = dask.config.get("jobqueue.slurm.scheduler-options", None) or {}
    try:
        return SLURMCluster(
            **_arguments(options),
            scheduler_options={**page, **own},
            silence_logs=logging.CRITICAL,
        )
    except (ValueError, TypeError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"--scheduler slurm: {reason}; see --slurm-opt") from None


def _arguments(options: Sequence[str]) -> Mapping[str, Any]:
    import dask

    known: dict[str, Any] = {}
    directives = list(dask.config.get("jobqueue.slurm.job-extra-directives", None) or [])
    for option in options:
        key, equals, value = option.partition("=")
        name = key.strip().lstrip("-").replace("_", "-")
        if not name or (name in _JOBQUEUE and not (equals and value)):
            raise InputError(f"--slurm-opt {option!r}: expected key=value, e.g. partition=short")
        if name in _JOBQUEUE:
            known[_JOBQUEUE[name]] = value
        else:
            directives.append(f"--{name}{equals}{value}")
    for name in _NUMBERS:
        if name in known:
            known[name] = _whole(name, known[name])
    for name, default in _DEFAULTS.items():
        if dask.config.get(f"jobqueue.slurm.{name}", None) is None:
            known.setdefault(name, default)
    return {**known, "job_extra_directives": directives}


def _whole(name: str, text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise InputError(f"--slurm-opt {name}={text}: expected a whole number")
    return int(text)


def _try(script: str) -> None:
    """Ask SLURM whether it would take the job: once submitted, its refusal is only in a log."""
    if shutil.which("sbatch") is None:
        raise InputError(
            "no sbatch here: give --scheduler slurm on a login node, or see --shard for job arrays"
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "job.sh"
        path.write_text(script)
        done = subprocess.run(
            ["sbatch", "--test-only", str(path)], capture_output=True, text=True, check=False
        )
    if done.returncode:
        raise InputError(f"SLURM refuses the job: {' '.join(done.stderr.split())[:300]}")
