"""The installed models: those in the package and the user's own. Reads headers only; no torch."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from platformdirs import user_data_path

from napari_unet_tumour.base.atomic_write import atomic
from napari_unet_tumour.errors import ModelError, OutputError
from napari_unet_tumour.models.spec import ModelSpec, file_hash, hash_of, read_spec

if TYPE_CHECKING:
    from collections.abc import Callable

    Convert = Callable[[Path, ModelSpec, Path], None]

HOME = "NAPARI_UNET_TUMOUR_HOME"
SHIPPED = Path(__file__).parent / "weights"
DEFAULT = "t1ce-small"
CHOSEN = "default-model"
SUFFIX = ".safetensors"


@dataclass(frozen=True)
class ModelEntry:
    """A usable model.

    Parameters
    ----------
    name : str
        The file name without its suffix.
    path : pathlib.Path
        The model file.
    spec : ModelSpec
        The description in its header.
    hash : str
        First 12 hex digits of the file's SHA-256.
    shipped : bool
        Whether it came with the package.
    """

    name: str
    path: Path
    spec: ModelSpec
    hash: str
    shipped: bool


@dataclass(frozen=True)
class InvalidModel:
    """An installed file that cannot be used, and the one-line reason."""

    name: str
    path: Path
    reason: str
    shipped: bool


def data_dir() -> Path:
    """Return the user's data folder; the environment variable NAPARI_UNET_TUMOUR_HOME overrides it."""
    moved = os.environ.get(HOME)
    return Path(moved).expanduser() if moved else user_data_path("napari-unet-tumour", appauthor=False)


def user_models_dir() -> Path:
    """Return the folder of the user's own models; it may not exist yet."""
    return data_dir() / "models"


def entries() -> list[ModelEntry]:
    """Return every usable model: the default first, then the shipped ones, then the user's own, by name."""
    found, first = [one for one in _all_models() if isinstance(one, ModelEntry)], _default_hash()
    return sorted(
        found, key=lambda one: (one.hash != first, not one.shipped, one.name != DEFAULT, _by_number(one.name))
    )


def set_default(entry: ModelEntry) -> None:
    """Make a model the default from now on. Raises OutputError."""
    with atomic(data_dir() / CHOSEN, "check the permissions") as part:
        part.write_text(entry.hash, encoding="utf-8")


def lineage(entry: ModelEntry) -> list[ModelEntry]:
    """Return a model, its parent, and so on, as far as they are installed."""
    known = {one.hash: one for one in entries()}
    line = [entry]
    while (parent := known.get(line[-1].spec.parent)) is not None and parent not in line:
        line.append(parent)
    return line


def add_version(data: bytes, parent: ModelEntry) -> ModelEntry:
    """Install a fine-tuned model as the next version of its parent.

    Parameters
    ----------
    data : bytes
        Content of a model file.
    parent : ModelEntry
        The model that it was fine-tuned from.

    Returns
    -------
    ModelEntry
        Called "NAME-v2", "NAME-v3", ...; the existing entry if the same content is installed already.

    Raises
    ------
    ModelError, OutputError
        The data is not a model file, or the models folder cannot be written.
    """
    stem = re.sub(r"-v\d+$", "", parent.name)
    taken = {one.name for one in _all_models()}
    name = next(f"{stem}-v{n}" for n in count(2) if f"{stem}-v{n}" not in taken)
    target = user_models_dir() / f"{clean_name(name)}{SUFFIX}"
    mark = hash_of(data)
    for one in entries():
        if one.hash == mark:
            return one
    with atomic(target, "free some space and try again") as part:
        part.write_bytes(data)
        read_spec(part)
    return _entry(target, name)


def invalid_models() -> list[InvalidModel]:
    """Return every installed file that cannot be used."""
    return [one for one in _all_models() if isinstance(one, InvalidModel)]


def find(name_or_path: str | Path = "default") -> ModelEntry:
    """Return the model with this name, hash or file.

    Parameters
    ----------
    name_or_path : str or pathlib.Path
        "default", the name of an installed model, at least 6 digits of a hash, or the path of a model file.

    Returns
    -------
    ModelEntry

    Raises
    ------
    ModelError
        There is no such model (the message lists the known names), or its file cannot be used.
    """
    text = str(name_or_path)
    known = entries()
    for one in known:
        if text in (one.name, "default") or (len(text) >= 6 and one.hash.startswith(text)):
            return one
    path = Path(text).expanduser()
    if path.suffix or path.name != text:
        return _entry(path, read_spec(path).name)
    for bad in invalid_models():
        if text in (bad.name, "default"):
            raise ModelError(f"the installed model '{bad.name}' cannot be used: {bad.reason}")
    names = ", ".join(one.name for one in known) or "none"
    raise ModelError(f"no model is called '{text}' (known: {names}): choose one of these, or give a model file")


def import_(
    path: str | Path,
    name: str = "",
    like: str = "",
    prove: Callable[[Path], object] = lambda path: None,
    convert: Convert | None = None,
) -> ModelEntry:
    """Install a model file, or weights of another program, for this user.

    Parameters
    ----------
    path : str or pathlib.Path
        A .safetensors file with a model description; with `like` also a state_dict (.pt, .safetensors).
    name : str
        The name to install it under; by default the name in its description, else its file name.
    like : str
        For weights without a description: the model (name, hash or file) whose network and description they
        get. Loads torch.
    prove : callable
        Called with the model file before it is copied; raises ModelError if it cannot be used.
    convert : callable, optional
        Needed with `like`: writes a model file from (weights file, ModelSpec, target path), such as
        `engine.import_weights.import_weights`. The registry itself never loads torch.

    Returns
    -------
    ModelEntry
        The installed model; the existing entry if the same file is installed already.

    Raises
    ------
    ModelError
        The file is not a usable model, or another model has that name.
    OutputError
        The models folder cannot be written.
    """
    source = Path(path).expanduser()
    if like:
        return _import_weights(source, name, find(like), convert)
    if _is_pickle(source):
        raise ModelError(f"{source.name} holds weights and no description: say which model they fit with --like MODEL")
    given = _entry(source, "")
    prove(source.absolute())
    for one in entries():
        if one.hash == given.hash and not name:
            return one
    wanted = _free_name(name or given.spec.name or source.stem)
    return _entry(_copy(source, user_models_dir() / f"{wanted}{SUFFIX}"), wanted)


def export(name: str, path: str | Path) -> Path:
    """Copy a model to a file, or into a folder under its own name; an existing file is never replaced."""
    entry, target = find(name), Path(path).expanduser()
    if target.is_dir():
        target = target / f"{entry.name}{SUFFIX}"
    if target.suffix != SUFFIX:
        raise OutputError(f"a model file ends in {SUFFIX}, {target.name} does not: change the name")
    if target.exists():
        raise OutputError(f"{target} exists already: choose another name, or remove it first")
    return _copy(entry.path, target)


def remove(name: str) -> Path:
    """Delete one of the user's own models, usable or not, and return its path."""
    for one in _all_models():
        if one.name == name and not one.shipped:
            _delete(one.path)
            return one.path
    if find(name).shipped:
        raise ModelError(f"'{name}' ships with the package and cannot be removed: remove one of your own models")
    raise ModelError(f"'{name}' is not the name of an installed model: 'models list' shows the names")


def clean_name(text: str) -> str:
    """Return any text as a model name: letters, digits, dot, dash and underscore; never "default"."""
    name = re.sub(r"[^\w.-]+", "-", text).strip("-.")
    if not name or name == "default":
        raise ModelError(f"'{text}' cannot be the name of a model: use letters, digits and dashes")
    return name


def _import_weights(source: Path, name: str, like: ModelEntry, convert: Convert | None) -> ModelEntry:
    if convert is None:
        raise ModelError(f"{source.name} holds weights only: use 'napari-unet-tumour models import --like {like.name}'")
    wanted = _free_name(name or source.stem)
    about = f"Weights of {source.name}, built like {like.name}"
    spec = replace(like.spec, name=wanted, description=about, data="", licence="", scores={}, parent="")
    target = user_models_dir() / f"{wanted}{SUFFIX}"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{target.parent} cannot be written ({error.strerror}): check the permissions") from error
    convert(source, spec, target)
    return _entry(target, wanted)


def _default_hash() -> str:
    try:
        return (data_dir() / CHOSEN).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _by_number(name: str) -> tuple[str, int]:
    """Return a sort key that puts "a" before "a-v9" and "a-v9" before "a-v10"."""
    stem, _, number = name.rpartition("-v")
    return (stem, int(number)) if stem and number.isdecimal() else (name, 0)


def _free_name(text: str) -> str:
    wanted = clean_name(text)
    if any(one.name == wanted for one in _all_models()):
        raise ModelError(f"another model is called '{wanted}' already: give another name, or remove it first")
    return wanted


def _is_pickle(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            start = file.read(9)
    except OSError:
        return False
    return start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[8:] != b"{")


def _all_models() -> list[ModelEntry | InvalidModel]:
    return [_read_entry(path, folder == SHIPPED) for folder in (SHIPPED, user_models_dir()) for path in _files(folder)]


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == SUFFIX and not path.name.startswith("."))
    except OSError:
        return []


def _read_entry(path: Path, shipped: bool) -> ModelEntry | InvalidModel:
    try:
        return _entry(path, path.stem, shipped)
    except ModelError as error:
        return InvalidModel(path.stem, path, str(error), shipped)


def _entry(path: Path, name: str, shipped: bool = False) -> ModelEntry:
    spec = read_spec(path)
    try:
        stat = path.stat()
        mark = _hash(path, stat.st_mtime_ns, stat.st_size)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read ({error.strerror}): check the path and permissions") from error
    return ModelEntry(name, path, spec, mark, shipped)


@lru_cache(maxsize=256)
def _hash(path: Path, changed: int, size: int) -> str:
    return file_hash(path)


def _copy(source: Path, target: Path) -> Path:
    with atomic(target, "choose another folder") as part:
        shutil.copyfile(source, part)
    return target


def _delete(path: Path) -> None:
    try:
        path.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be removed ({error.strerror}): check the permissions") from error
