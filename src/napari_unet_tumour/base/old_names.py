"""Names that changed in version 0.2 and are still accepted: settings, model headers, flags and Python modules."""

from __future__ import annotations

import importlib
import sys
import warnings
from functools import wraps
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Kind = TypeVar("Kind", bound=type[Any])

PACKAGE = "napari_unet_tumour"

# Settings files, run cards, remembered settings, checkpoints and flags.
SETTINGS = {
    "flips": "flip_tta",
    "smallest": "min_object_size",
    "drop_lone": "remove_isolated",
    "windows": "tiling",
    "shrink": "downsample",
    "rate": "learning_rate",
    "clip": "grad_clip_norm",
    "watch": "monitor",
    "keep": "keep_checkpoint",
    "early_stop": "early_stopping",
    "start": "init_weights",
    "calm": "weak_augment_prob",
    "twin_share": "lesion_removed_fraction",
    "graft_share": "carvemix_fraction",
    "teachers": "distill_from",
    "teach_share": "distill_weight",
    "card": "model_card",
    "stages": "progressive_stages",
}
# Training settings that no longer exist, with the value that training has now. Old files may name them with this value.
REMOVED_SETTINGS = {"deep_supervision": 0}
# Headers of model files.
HEADER = {
    "flips": "flip_tta",
    "smallest": "min_object_size",
    "fill": "channel_fallbacks",
    "added": "n_added_labels",
}
# Modules that Python code outside the package may import.
MODULES = {
    "layout": "base.slicing",
    "lone": "postprocess.isolated",
    "masks": "postprocess.threshold",
    "parts": "tiling.streaming",
    "queue": "corrections.ranking",
    "recipes": "presets",
    "sample": "phantom",
    "shelf": "models.registry",
    "spec": "models.spec",
    "touchup": "postprocess.edit_tools",
    "writing": "base.atomic_write",
    "api.masking": "api.segment",
    "api.scoring": "api.evaluate",
    "api.tuning": "api.finetune",
    "corrections.correction": "corrections.reviewed",
    "corrections.roles": "corrections.holdout",
    "corrections.tuned": "corrections.outcome",
    "engine.evaluate": "engine.metrics.summary",
    "engine.fast": "engine.inference.accelerate",
    "engine.finetune": "engine.finetuning.finetune",
    "engine.normalise": "engine.normalisation",
    "engine.planes": "engine.inference.preprocess",
    "engine.segment": "engine.inference.segment",
    "engine.windows": "engine.inference.sliding_window",
    "engine.training.examples": "engine.training.dataset",
    "engine.training.pairs": "engine.training.dataset_index",
    "engine.tuning": "engine.finetuning",
    "scans.images": "scans.pictures",
    "scans.itk_files": "scans.nrrd_mha",
    "scans.large": "scans.streaming_masks",
    "scans.person": "scans.patient_id",
    "scans.safety": "scans.checks",
    "scans.sequences": "scans.mr_sequences",
    "scans.zarrs": "scans.ome_zarr",
    "widgets.napari_io": "widgets.readers_writers",
}
# Public names inside modules, by the module's new name.
SYMBOLS = {
    "api.segment": {"Work": "LoadedScan"},
    "base.slicing": {"Layout": "SliceLayout", "with_depth": "with_slice_distance"},
    "corrections": {"Correction": "ReviewedSlice", "Corrected": "ReviewedContext", "Tuned": "FineTuneOutcome"},
    "corrections.outcome": {"Tuned": "FineTuneOutcome"},
    "corrections.ranking": {
        "areas": "foreground_areas",
        "by_worth": "rank_by_score",
        "order": "rank_slices",
        "unsureness": "expected_error_pixels",
    },
    "corrections.reviewed": {"Correction": "ReviewedSlice", "Corrected": "ReviewedContext"},
    "engine.inference.accelerate": {"runner": "accelerated", "sure": "to_probability"},
    "engine.inference.preprocess": {"as_planes": "to_working_planes"},
    "jobs": {"crew": "local_workers", "warm": "preload"},
    "engine.training.dataset": {"iter_examples": "iter_dataset", "Examples": "Dataset"},
    "engine.training.dataset_index": {"sources_of": "dataset_items", "Source": "DatasetItem"},
    "models.registry": {
        "Broken": "InvalidModel",
        "Entry": "ModelEntry",
        "broken": "invalid_models",
        "choose": "set_default",
        "home": "data_dir",
        "own_folder": "user_models_dir",
    },
    "postprocess.edit_tools": {"between": "interpolate_slices", "snap": "snap_to_edges"},
    "postprocess.isolated": {"drop_lone": "remove_isolated_components"},
    "postprocess.threshold": {
        "keep_largest": "keep_largest_component",
        "level_of": "effective_threshold",
        "mask_of": "mask_from_probability",
    },
    "presets": {"read": "read_settings"},
}


def current_names(values: Mapping[str, Any], table: Mapping[str, str] = SETTINGS) -> dict[str, Any]:
    """Return a mapping with old names replaced; where both names are given, the current one counts."""
    old = {table[name]: value for name, value in values.items() if name in table}
    return old | {name: value for name, value in values.items() if name not in table}


def accept_old_names(table: Mapping[str, str]) -> Callable[[Kind], Kind]:
    """Let a dataclass be made with old field names, and its fields be read by them.

    Parameters
    ----------
    table : mapping of str to str
        Old name to current name.
    """

    def wrap(kind: Kind) -> Kind:
        make = kind.__init__

        @wraps(make)
        def init(self: Any, *args: Any, **given: Any) -> None:
            # `dataclasses.replace` passes all current values beside a change by its old name.
            changes = {table[name]: value for name, value in given.items() if name in table}
            make(self, *args, **current_names(given, table) | changes)

        def read(self: Any, name: str) -> Any:
            if name in table:
                return getattr(self, table[name])
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

        kind.__init__ = init
        kind.__getattr__ = read
        return kind

    return wrap


class _OldModule(ModuleType):
    """A module under its old name: reads and writes go to the current one."""

    def __getattr__(self, name: str) -> Any:
        new = MODULES[self.__name__.removeprefix(f"{PACKAGE}.")]
        module = importlib.import_module(f"{PACKAGE}.{new}")
        return getattr(module, SYMBOLS.get(new, {}).get(name, name))

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("__"):
            super().__setattr__(name, value)
            return
        new = MODULES[self.__name__.removeprefix(f"{PACKAGE}.")]
        module = importlib.import_module(f"{PACKAGE}.{new}")
        setattr(module, SYMBOLS.get(new, {}).get(name, name), value)


class _OldModules(MetaPathFinder, Loader):
    """Finds modules under their old names, with a DeprecationWarning that gives the current name."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        new = MODULES.get(fullname.removeprefix(f"{PACKAGE}."))
        if new is None or not fullname.startswith(f"{PACKAGE}."):
            return None
        warnings.warn(
            f"{fullname} is now {PACKAGE}.{new}: the old name goes with the next version", DeprecationWarning, 2
        )
        return ModuleSpec(fullname, self)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _OldModule(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Do nothing: the current module is imported when one of its names is used."""


def find_old_modules() -> None:
    """Let `import` find modules under their old names, when no other finder knows them."""
    if not any(isinstance(finder, _OldModules) for finder in sys.meta_path):
        sys.meta_path.append(_OldModules())


def old_name(module: str, name: str) -> Any:
    """Return the object that a module's old name stands for, for its `__getattr__`; raises AttributeError."""
    short = module.removeprefix(f"{PACKAGE}.")
    if name in SYMBOLS.get(short, {}):
        return getattr(importlib.import_module(module), SYMBOLS[short][name])
    raise AttributeError(f"module {module!r} has no attribute {name!r}")
