"""The description of a model, as plain data; read from a model file's header without torch."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from napari_unet_tumour.base.old_names import HEADER, accept_old_names, current_names
from napari_unet_tumour.base.text import one_line
from napari_unet_tumour.errors import ModelError
from napari_unet_tumour.settings import ENHANCING, WHOLE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMAT = 1
KEY = "napari-unet-tumour"
MAX_HEADER = 1 << 20
ZEROS = "zeros"
# Names that no label may have: the window shows them for the value 255 and for the background brush.
MOST_LABELS, LONGEST_NAME, NO_NAMES = 255, 40, ("unsure", "eraser")


@accept_old_names(HEADER)
@dataclass(frozen=True)
class ModelSpec:
    """Everything but the weights that is needed to rebuild a model and to know how good it is.

    Parameters
    ----------
    name : str
        Short name, e.g. "t1ce-small".
    network : str
        Key of `engine.networks.NETWORKS`.
    arguments : dict
        Keyword arguments of that builder, without in_channels and out_channels.
    channels : tuple of str
        Input channels in order, e.g. ("T1ce",); "red", "green", "blue" for colour images.
    labels : tuple of str
        Names by pixel value; index 0 is background.
    normalisation : str
        Key of `engine.normalisation.NORMALISATIONS`.
    size : int
        Longest side of the working image in pixels.
    threshold : float
        Default probability from which a pixel is foreground, 0..1.
    min_object_size : int
        Default smallest object in pixels of the scan's own grid.
    flip_tta : bool
        Whether the mirror image is predicted too by default: right for heads, wrong for anatomy without symmetry.
    flip_size : int
        Longest side of the mirror image in pixels, 0 for `size`; a prediction at a second scale finds other lesions.
        Not used for the windows of a large plane.
    description, data, licence : str
        One line each: purpose, training data, licence of the training data.
    scores : dict
        Held-out scores by name, e.g. {"dice_mean": 0.8}; of a fine-tuned version those of `tuned_scores`.
    parent : str
        Hash of the model that this one was fine-tuned from, or "".
    channel_fallbacks : dict
        What replaces a missing channel, by channel: another channel's name, or "zeros" (0 after normalisation). A
        channel that is not a key here is required.
    carry : dict
        Weights with which corrected slices are carried to their neighbours (`corrections.carry.CarryWeights`), by
        name; those of the package where it has none.
    corrected : list of dict
        Corrected slices that the model was fine-tuned on (`corrections.remembered`), so that it answers their own scan
        as it did then.
    habit : dict
        How the reader outlines on whose corrections the model was fine-tuned (`postprocess.outline_habit.habit_of`), or
        {}.
    added : int
        How many of the labels, the last ones, were added to a network that was trained without them.
    part : str
        Which part of the tumour it shows by default (`settings.SegmentSettings.part`): the one that the masks show on
        which it was fine-tuned.
    clicks : dict
        Keyword arguments of `engine.networks.click_net.ClickNet`; empty for a model that takes no clicks.
    typical : dict
        What the training slices look like (`scans.training_match.statistics_of`), or {}.
    components : dict
        Classifier of a mask's components (`postprocess.component_classifier.likelihoods`), or {}.
    version : str
        Package version that wrote the file.
    format : int
        Version of this header.
    """

    name: str
    network: str
    arguments: dict[str, Any] = field(default_factory=dict)
    channels: tuple[str, ...] = ("T1ce",)
    labels: tuple[str, ...] = ("background", "tumour")
    normalisation: str = "robust-zscore"
    size: int = 256
    threshold: float = 0.5
    min_object_size: int = 0
    flip_tta: bool = False
    flip_size: int = 0
    description: str = ""
    data: str = ""
    licence: str = ""
    scores: dict[str, float] = field(default_factory=dict)
    parent: str = ""
    channel_fallbacks: dict[str, str] = field(default_factory=dict)
    carry: dict[str, float] = field(default_factory=dict)
    corrected: list[dict[str, Any]] = field(default_factory=list)
    habit: dict[str, Any] = field(default_factory=dict)
    n_added_labels: int = 0
    part: str = WHOLE
    clicks: dict[str, Any] = field(default_factory=dict)
    typical: dict[str, Any] = field(default_factory=dict)
    components: dict[str, Any] = field(default_factory=dict)
    version: str = ""
    format: int = FORMAT

    @property
    def defaults(self) -> dict[str, Any]:
        """The `SegmentSettings` that the model recommends."""
        return {
            "threshold": self.threshold,
            "min_object_size": self.min_object_size,
            "flip_tta": self.flip_tta,
            "part": self.part,
        }

    @property
    def flip_scale(self) -> float:
        """Size of the mirror image relative to the slice."""
        return self.flip_size / self.size if self.flip_size else 1.0

    @property
    def in_channels(self) -> int:
        """Number of input channels."""
        return len(self.channels)

    @property
    def out_channels(self) -> int:
        """Number of logit channels: one (sigmoid) for one label, else one per label with background (softmax)."""
        return 1 if len(self.labels) == 2 else len(self.labels)

    def to_json(self) -> str:
        """Return the header text."""
        return json.dumps(asdict(self), sort_keys=True)


def with_labels(spec: ModelSpec, names: Sequence[str], parent: str) -> ModelSpec:
    """Return the description of a model with more labels than its parent; the scores stay those of the parent.

    Parameters
    ----------
    spec : ModelSpec
        The parent's.
    names : sequence of str
        Names of the pixel values that follow the parent's.
    parent : str
        The parent's hash.

    Raises
    ------
    ModelError
        A name is empty, too long or taken, or there are no pixel values left.
    """
    labels = list(spec.labels)
    for given in names:
        name = one_line(given)
        if not 1 <= len(name) <= LONGEST_NAME:
            raise ModelError(f"a class needs a name of 1 to {LONGEST_NAME} letters, not '{given}': give it another")
        if name.casefold() in {*map(str.casefold, labels), *NO_NAMES}:
            raise ModelError(f"'{name}' is taken already ({', '.join(labels)}): give the class another name")
        labels.append(name)
    if len(labels) > MOST_LABELS or not names:
        raise ModelError(f"a model has 2 to {MOST_LABELS} labels, not {len(labels)}: add another number of classes")
    return replace(
        spec,
        labels=tuple(labels),
        parent=parent,
        n_added_labels=spec.n_added_labels + len(names),
        habit={},
        part=WHOLE,
        version="",
    )


def spec_from_json(text: str, where: str) -> ModelSpec:
    """Rebuild a ModelSpec from header text; `where` names the file in errors (ModelError)."""
    try:
        found = json.loads(text)
        if found.get("format") != FORMAT:
            raise ModelError(
                f"{where} has model format {found.get('format')}, this version reads {FORMAT}: "
                "update napari-unet-tumour, or export the model again with a matching version"
            )
        found = current_names(found, HEADER)
        known = {f.name for f in fields(ModelSpec)}
        given: dict[str, Any] = {k: v for k, v in found.items() if k in known}
        spec = ModelSpec(**given | {"channels": tuple(given["channels"]), "labels": tuple(given["labels"])})
        if {*spec.channel_fallbacks, *spec.channel_fallbacks.values()} - {*spec.channels, ZEROS}:
            raise ModelError(f"{where} fills in channels that it does not have: get the file again")
        if not all(math.isfinite(value) for value in spec.carry.values()):
            raise ModelError(f"{where} has impossible weights for carrying corrections: get the file again")
        if spec.part not in (WHOLE, ENHANCING):
            raise ModelError(f"{where} shows a part that is not known here ({spec.part}): update napari-unet-tumour")
        return spec
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ModelError(f"{where} has a damaged model header: get the file again") from error


def read_spec(path: Path) -> ModelSpec:
    """Read the description in the header of a model file (.safetensors) without torch; raises ModelError."""
    try:
        with path.open("rb") as file:
            start = file.read(9)
            # The header of a safetensors file is JSON from the ninth byte on, after its length.
            if start[8:] != b"{" and (start[:2] == b"PK" or start[:1] == b"\x80"):
                raise ModelError(
                    f"{path.name} is a pickle, which can run any code when opened: "
                    "convert it with 'napari-unet-tumour models import'"
                )
            length = int.from_bytes(start[:8], "little")
            if start[8:] != b"{" or not 2 <= length <= MAX_HEADER:
                raise ModelError(f"{path.name} is not a model file (.safetensors): choose another file")
            header = json.loads(b"{" + file.read(length - 1))
            _check_length(path, header, 8 + length)
    except OSError as error:
        raise ModelError(f"{path.name} cannot be read ({error.strerror}): check the path and permissions") from error
    except ValueError as error:
        raise ModelError(f"{path.name} is cut or damaged: get the file again") from error
    text = header.get("__metadata__", {}).get(KEY)
    if text is None:
        raise ModelError(f"{path.name} holds weights but no model description: import it as a model first")
    return spec_from_json(text, path.name)


def spec_of(data: bytes, where: str) -> ModelSpec:
    """Read the description from the content of a model file; `where` names the file in errors (ModelError)."""
    try:
        length = int.from_bytes(data[:8], "little")
        text = json.loads(data[8 : 8 + length])["__metadata__"][KEY]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{where} is not a model file (.safetensors): choose another file") from error
    return spec_from_json(text, where)


def with_scores(data: bytes, scores: dict[str, float]) -> bytes:
    """Return the content of a model file with other scores in its description; the weights stay byte for byte."""
    spec = replace(spec_of(data, "the new version"), scores=scores)
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    header["__metadata__"][KEY] = spec.to_json()
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the format wants the weights aligned
    return len(text).to_bytes(8, "little") + text + data[end:]


def _check_length(path: Path, header: dict[str, Any], start: int) -> None:
    ends = [entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"]
    if path.stat().st_size != start + max(ends, default=0):
        raise ModelError(f"{path.name} is cut or damaged: get the file again")


def file_hash(path: Path) -> str:
    """Return the first 12 hex digits of the file's SHA-256, the model's identity."""
    return hash_of(path.read_bytes())


def hash_of(data: bytes) -> str:
    """Return the identity of a model file from its content; see `file_hash`."""
    return hashlib.sha256(data).hexdigest()[:12]
