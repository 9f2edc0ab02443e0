"""Everything that can go wrong in words a person can act on.

Every message is one line: what happened, to what, what to do. None of these derives from
`RuntimeError`, which Qt worker threads swallow.
"""

from __future__ import annotations


class UNetTumourError(Exception):
    """Base of all errors that this package raises on purpose; `str()` is one clear line."""


class ScanError(UNetTumourError):
    """A scan (file, folder or layer) cannot be read or used."""


class DamagedError(ScanError):
    """A file starts as its format says and cannot be decoded: it is cut or damaged."""


class UnsupportedError(ScanError):
    """A file is whole, but stored in a way that is not read here."""


class ModelError(UNetTumourError):
    """A model file cannot be read, or does not fit the scan."""


class DeviceError(UNetTumourError):
    """The device that was asked for is not there, or its memory is full."""


class WorkerError(UNetTumourError):
    """The worker process or the scheduler was lost, refused or did not answer."""


class JobError(WorkerError):
    """One job failed on its worker, or took the worker with it; others may go well."""


class OutputError(UNetTumourError):
    """A result cannot be written."""


class TrainingError(UNetTumourError):
    """Training cannot start with these images and settings, or cannot go on."""


class TableError(UNetTumourError):
    """A table (cases.csv, pairs.csv) cannot be read, or lacks a column."""
