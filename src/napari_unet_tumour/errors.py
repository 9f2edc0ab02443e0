"""Errors with one-line messages: what happened, to what, and what to do.

None of them derives from `RuntimeError`, which Qt worker threads swallow.
"""

from __future__ import annotations


class UNetTumourError(Exception):
    """Base of all errors that this package raises on purpose; `str()` is one line for a person."""


class ScanError(UNetTumourError):
    """A scan (file, folder or layer) cannot be read or used."""


class DamagedError(ScanError):
    """A file starts as its format requires but cannot be decoded: it is truncated or damaged."""


class UnsupportedError(ScanError):
    """A file is whole, but stored in a way that this version does not read."""


class ModelError(UNetTumourError):
    """A model file cannot be read, or does not fit the scan."""


class DeviceError(UNetTumourError):
    """The requested device does not exist, or its memory is full."""


class WorkerError(UNetTumourError):
    """The worker process or the scheduler was lost, refused or did not answer."""


class JobError(WorkerError):
    """One job failed on its worker, or crashed the worker; other jobs may succeed."""


class OutputError(UNetTumourError):
    """A result cannot be written."""


class TrainingError(UNetTumourError):
    """Training cannot start with these images and settings, or cannot go on."""


class TableError(UNetTumourError):
    """A table (cases.csv, pairs.csv) cannot be read, or lacks a column."""


class ServerError(UNetTumourError):
    """A DICOMweb server does not answer, refuses, or answers as no such server does."""


class LoginError(ServerError):
    """A DICOMweb server asks for a login, or does not know the one that was given."""
