"""Settings dataclass <-> form, and what the forms remember between sessions."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar, cast

from magicgui.widgets import create_widget
from psygnal import Signal

from napari_unet_tumour.base.atomic_write import atomic_path
from napari_unet_tumour.base.old_names import current_names
from napari_unet_tumour.models.registry import data_dir
from napari_unet_tumour.postprocess.enhancing_part import has_enhancing_part
from napari_unet_tumour.settings import ENHANCING, WHOLE, Option, options_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from magicgui.widgets.bases import ValueWidget

    from napari_unet_tumour.models.registry import ModelEntry

Settings = TypeVar("Settings")


class RegistryEvents:
    """Tells every open widget when another model has become the default."""

    chosen = Signal(object)


registry_events = RegistryEvents()


def form_of(kind: type[Any], without: Sequence[str] = ()) -> dict[str, ValueWidget[Any]]:
    """Return one widget per field of a settings dataclass, by field name, in order; none for the fields `without`."""
    options = [option for option in options_of(kind) if option[0] not in without]
    return {name: _widget(name, hint, default, ask) for name, hint, default, ask in options}


def _widget(name: str, hint: type[Any], default: Any, ask: Option) -> ValueWidget[Any]:
    options: dict[str, Any] = {"tooltip": ask.text}
    if ask.choices:
        options["choices"] = [*zip(ask.captions or ask.choices, ask.choices, strict=True)]
    if hint in (int, float):
        options |= {"min": ask.low, "max": ask.high, "step": ask.step or 1}
    caption = (ask.label or name.replace("_", " ")).capitalize()
    widget_type = "ComboBox" if ask.choices else "FloatSlider" if hint is float else None
    made: Any = create_widget(
        default, annotation=hint, name=name, label=caption, widget_type=widget_type, options=options
    )
    return cast("ValueWidget[Any]", made)


def settings_in(form: Mapping[str, ValueWidget[Any]], kind: type[Settings]) -> Settings:
    """Return what the form says as the settings dataclass."""
    return kind(**{name: widget.value for name, widget in form.items()})


def fill(form: Mapping[str, ValueWidget[Any]], values: Mapping[str, Any]) -> None:
    """Set the form's widgets from plain values; what a widget does not take is left as it was."""
    current = current_names(values)
    for name in form.keys() & current.keys():
        try:
            form[name].value = current[name]
        except (ValueError, TypeError):
            continue


def remember(part: str, values: Mapping[str, Any]) -> None:
    """Keep plain values for the next session under the name of a widget; a full disk loses them, nothing else."""
    path = data_dir() / "settings.json"
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as new:
            new.write_text(json.dumps({**_all(), part: dict(values)}, indent=1), encoding="utf-8")


def remembered(part: str) -> dict[str, Any]:
    """Return what `remember` kept, {} where nothing or nonsense is found."""
    found = _all().get(part, {})
    return found if isinstance(found, dict) else {}


def remembered_part(entry: ModelEntry) -> str:
    """Return which part of the tumour a mask of a model shows: as last chosen with it in Segment, else as it says."""
    kept = remembered("segment")
    settings = kept.get("settings")
    chosen = settings.get("part") if isinstance(settings, dict) and kept.get("model") == str(entry.path) else None
    return chosen if chosen in (WHOLE, ENHANCING) and has_enhancing_part(entry.spec) else entry.spec.part


def _all() -> dict[str, Any]:
    try:
        found = json.loads((data_dir() / "settings.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def plain(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as a dict of plain values."""
    return {one.name: getattr(settings, one.name) for one in fields(settings)}
