"""Settings files for training: those in the package by name, the user's own by path."""

from __future__ import annotations

import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from napari_unet_tumour.base.old_names import REMOVED_SETTINGS, current_names
from napari_unet_tumour.errors import TrainingError
from napari_unet_tumour.settings import TrainSettings, options_of

FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Return the names of the settings files in the package."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def read_settings(name_or_path: str | Path = "", **changes: Any) -> TrainSettings:
    """Read training settings.

    Parameters
    ----------
    name_or_path : str or Path
        "tutorial", "shipped", ... (see `names`), a .toml file, or "" for the defaults.
    **changes
        Fields that replace those of the file.

    Raises
    ------
    TrainingError
        The file cannot be read, or has a setting that does not exist or an invalid value.
    """
    given = current_names(_table(str(name_or_path))) if str(name_or_path) else {}
    changes = current_names(changes)
    where = str(name_or_path) or "the settings"
    given = _without_removed(given, where)
    unknown = sorted(set(given | changes) - {one.name for one in fields(TrainSettings)})
    if unknown:
        raise TrainingError(f"{where} has the setting {unknown[0]!r}, which does not exist: see 'train --help'")
    settings = replace(TrainSettings(), **_tupled(given | changes))
    check(settings, where)
    return settings


def check(settings: TrainSettings, where: str = "the settings") -> None:
    """Raise TrainingError if a setting has the wrong type or is out of bounds."""
    for name, kind, _, option in options_of(TrainSettings):
        value = getattr(settings, name)
        fits = isinstance(value, (int, float) if kind is float else kind) and (kind is bool or value is not True)
        if not fits:
            raise TrainingError(f"{where}: {name} is {value!r} and must be {kind.__name__}: correct it")
        if option.choices and value not in option.choices:
            raise TrainingError(f"{where}: {name} is {value!r}: choose one of {', '.join(option.choices)}")
        low, high = option.low, option.high
        if kind in (int, float) and not (low is None or high is None or low <= value <= high):
            raise TrainingError(f"{where}: {name} is {value}: choose a number from {low:g} to {high:g}")
    _check_sides(settings, where)


def _check_sides(settings: TrainSettings, where: str) -> None:
    stages = settings.progressive_stages
    if any(len(stage) != 3 or any(not isinstance(n, int) or n < 1 for n in stage) for stage in stages):
        raise TrainingError(f"{where}: progressive_stages is {stages}: write each stage as [side, batch, epochs]")
    for side in (settings.size, *(stage[0] for stage in stages)):
        if side % 32:
            raise TrainingError(f"{where}: an image side is {side}: choose a multiple of 32")
    if settings.lesion_removed_fraction + settings.negative_share > 0.9:
        raise TrainingError(
            f"{where}: lesion_removed_fraction and negative_share fill the batch: keep their sum at 0.9 or less"
        )


def _without_removed(given: dict[str, Any], where: str) -> dict[str, Any]:
    """Return settings without those that no longer exist; raises TrainingError if one of them has another value."""
    for name, constant in REMOVED_SETTINGS.items():
        if given.get(name, constant) != constant:
            raise TrainingError(
                f"{where} sets {name} to {given[name]!r}, which no longer exists (it is always {constant!r}): "
                "remove the line"
            )
    return {name: value for name, value in given.items() if name not in REMOVED_SETTINGS}


def _table(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.toml" if name in names() else Path(name)
    try:
        with path.open("rb") as file:
            return tomllib.load(file)
    except OSError as error:
        known = ", ".join(names())
        raise TrainingError(f"{name} cannot be read ({error.strerror}): give a .toml file or one of {known}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TrainingError(f"{name} is not a settings file ({error}): correct it") from error


def _tupled(given: dict[str, Any]) -> dict[str, Any]:
    ready = dict(given)
    if "progressive_stages" in ready:
        ready["progressive_stages"] = tuple(tuple(stage) for stage in ready["progressive_stages"])
    if "labels" in ready:
        ready["labels"] = tuple(ready["labels"])
    return ready
