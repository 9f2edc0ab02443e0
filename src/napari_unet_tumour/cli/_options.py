"""Flags that several commands share; the flags of the settings are made from the settings dataclasses."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.old_names import SETTINGS as OLD_SETTINGS
from napari_unet_tumour.models.spec import ModelSpec
from napari_unet_tumour.settings import Option, SegmentSettings, options_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Flags = argparse.ArgumentParser | argparse._ArgumentGroup
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def add_model(command: argparse.ArgumentParser) -> None:
    """Add --model, --scheduler and --insecure."""
    command.add_argument(
        "--model", default="default", metavar="NAME|FILE", help="name in 'models list', or a model file"
    )
    command.add_argument(
        "--scheduler", metavar="ADDRESS", help="run the network on a dask cluster, e.g. tls://gpu-box:8786"
    )
    command.add_argument(
        "--insecure", action="store_true", help="allow a scheduler on another machine without TLS (not tls://)"
    )


def add_series(command: argparse.ArgumentParser) -> None:
    """Add --series, for DICOM folders."""
    command.add_argument(
        "--series", type=int, metavar="N", help="which series of a DICOM folder that holds several, from 0"
    )


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add one flag for every field of SegmentSettings; without the flag the model's own default holds."""
    add_fields(command, SegmentSettings, tuple(ModelSpec("", "").defaults))


def add_fields(command: Flags, settings: type[Any], by_model: Sequence[str] = ()) -> None:
    """Add one flag for every field of a settings dataclass; its value is None if the flag is not given.

    Parameters
    ----------
    command : argparse.ArgumentParser or argument group
        Where to add the flags. The old name of a flag is accepted and not shown.
    settings : type
        Dataclass whose fields carry an `Option`.
    by_model : sequence of str
        Fields whose default comes from the model file.
    """
    old = {new: name for name, new in OLD_SETTINGS.items()}
    for name, kind, default, option in options_of(settings):
        usual = "as the model says" if name in by_model else default
        if kind is bool and name not in by_model:
            usual = "on" if default else "off"
        text = f"{option.text.replace('%', '%%')} (default: {'none' if usual == '' else usual})"
        how = _flag_of(kind, option)
        command.add_argument(f"--{name.replace('_', '-')}", default=None, help=text, **how)
        if name in old:
            flag = f"--{old[name].replace('_', '-')}"
            command.add_argument(flag, dest=name, default=None, help=argparse.SUPPRESS, **how)


def _flag_of(kind: type[Any], option: Option) -> dict[str, Any]:
    if kind is bool:
        return {"action": argparse.BooleanOptionalAction}
    if option.choices:
        return {"choices": option.choices}
    if kind is str:
        return {"metavar": "TEXT"}
    return {"type": _number(kind, option), "metavar": kind.__name__.upper()[0]}


def given_settings(args: argparse.Namespace, settings: type[Any]) -> dict[str, Any]:
    """Return the fields of a settings dataclass whose flags are given."""
    return {name: getattr(args, name) for name, *_ in options_of(settings) if getattr(args, name) is not None}


def settings_of(args: argparse.Namespace, spec: ModelSpec) -> SegmentSettings:
    """Return the model's own settings with those of the flags on top; raises ModelError if it cannot show the part."""
    from napari_unet_tumour.postprocess.enhancing_part import check_part

    settings = SegmentSettings(**spec.defaults | given_settings(args, SegmentSettings))
    check_part(spec, settings.part)
    return settings


def _number(kind: type[Any], option: Option) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"'{text}' is not a number") from error
        if not (option.low is None or option.low <= value) or not (option.high is None or value <= option.high):
            raise argparse.ArgumentTypeError(f"{text} is not between {option.low:g} and {option.high:g}")
        return value

    return parse
