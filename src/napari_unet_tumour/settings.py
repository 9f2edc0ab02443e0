"""Settings and progress: plain data that the form, the command line and the run card share.

A setting is defined once, here: the form, the flag and the docs are made from its type, default and `Option`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

from napari_unet_tumour.base.old_names import SETTINGS, accept_old_names

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Option:
    """How a setting is presented.

    Parameters
    ----------
    text : str
        One line on what the setting does: the tooltip and the flag's help.
    label : str
        Short caption in the form; the field name with spaces when empty.
    low, high, step : float, optional
        Bounds and step of a number.
    choices : tuple of str
        The allowed values of a text setting.
    captions : tuple of str
        What the form shows for each choice; the choice itself when empty.
    """

    text: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()


# The parts of a tumour that a mask can show.
WHOLE, ENHANCING = "whole", "enhancing"


@accept_old_names(SETTINGS)
@dataclass(frozen=True)
class SegmentSettings:
    """Settings for segmenting a scan."""

    threshold: Annotated[float, Option("Probability from which a pixel is tumour.", low=0.02, high=0.98, step=0.01)] = (
        0.5
    )
    flip_tta: Annotated[
        bool,
        Option(
            "Test-time augmentation: average the slice and its left-right mirror. More sensitive, half as fast. "
            "Applies from the next run.",
            label="also check the mirrored slice (slower)",
        ),
    ] = False
    min_object_size: Annotated[
        int,
        Option("Remove objects with fewer pixels than this, per slice.", label="smallest object", low=0, high=100_000),
    ] = 0
    keep_largest: Annotated[bool, Option("Keep only the largest connected component of each label.")] = False
    device: Annotated[str, Option("Where the network runs.", choices=("auto", "cpu", "cuda", "mps"))] = "auto"
    tiling: Annotated[
        str,
        Option(
            "Whole: scale the slice to the network's size. Tiled: sliding windows at the slice's own size. Auto: tiled "
            "when a side is longer than 1024 pixels.",
            choices=("auto", "whole", "tiled"),
        ),
    ] = "auto"
    downsample: Annotated[int, Option("Tiled only: downsampling factor along each side.", low=1, high=64, step=1)] = 1
    memory: Annotated[
        int,
        Option("Memory for image data in MB; the network and the program need more.", low=128, high=1 << 20),
    ] = 512
    precision: Annotated[
        str,
        Option(
            "Floating-point precision. Auto: the fastest that agrees with float32.",
            choices=("auto", "float32", "bfloat16", "float16"),
        ),
    ] = "auto"
    check_components: Annotated[
        bool,
        Option(
            "Leave out what the model's own classifier finds unlike a tumour, if its file has one: components of a "
            "slice, and lesions over all their slices. Applies from the next run; a low threshold still shows them.",
            label="leave out unlikely pieces",
        ),
    ] = True
    remove_isolated: Annotated[
        bool,
        Option(
            "Remove components that only one slice of a volume shows, if they are wider than twice the slice distance.",
            label="ignore spots on one slice only",
        ),
    ] = True
    part: Annotated[
        str,
        Option(
            "Which part of the tumour the mask shows. Enhancing: the bright part, without necrosis; only for models of "
            "contrast-enhanced T1 with one label. Clicks outline the whole lesion in any case. Applies from the next "
            "run.",
            choices=(WHOLE, ENHANCING),
            captions=("Whole tumour", "Enhancing part"),
        ),
    ] = WHOLE


@dataclass(frozen=True)
class FinetuneSettings:
    """Settings for fine-tuning a network on corrected slices."""

    seconds: Annotated[
        float,
        Option(
            "Longest learning time in seconds. It ends sooner when all is learnt.",
            label="longest learning time (s)",
            low=1.0,
            high=3600.0,
            step=1.0,
        ),
    ] = 60.0
    device: Annotated[str, Option("Where the network learns.", choices=("auto", "cpu", "cuda"))] = "auto"
    steps: Annotated[
        int,
        Option(
            "Number of steps; 0: until all is learnt or the time is over. A fixed number makes the result repeatable.",
            low=0,
            high=100_000,
        ),
    ] = 0
    seed: Annotated[int, Option("Random seed.", low=0, high=2**31 - 1)] = 0
    part: Annotated[
        str,
        Option(
            "Which part of the tumour the corrected masks show. Model: the one that the model shows by default. The "
            "new version shows it by default, too.",
            choices=("model", WHOLE, ENHANCING),
        ),
    ] = "model"


@accept_old_names(SETTINGS)
@dataclass(frozen=True)
class TrainSettings:
    """Settings for training a network; the fields without `Option` come from a settings file.

    Parameters
    ----------
    arguments : dict
        Keyword arguments of the network's builder, e.g. {"filters": [16, 32, 64]}.
    progressive_stages : tuple of (side, batch, epochs)
        Training at growing image sides; one stage of `size`, `batch` and `epochs` when empty.
    labels : tuple of str
        Names of the mask values 1, 2, ...; "tumour" or "label N" when empty.
    model_card : dict
        Header fields of the model file: name, description, data, licence, channels.
    """

    network: Annotated[
        str,
        Option(
            "Network to train.",
            choices=(
                "dynunet",
                "basic-unet",
                "unet",
                "attention-unet",
                "segresnet",
                "flexible-unet",
                "lite-unet",
                "unet-plus-plus",
                "tutorial-unet",
            ),
        ),
    ] = "dynunet"
    channels: Annotated[int, Option("Channels of an image: 1 grey, 3 colour.", low=1, high=16)] = 1
    size: Annotated[
        int, Option("Side of the working image in pixels, a multiple of 32.", low=32, high=2048, step=32)
    ] = 256
    normalisation: Annotated[str, Option("Intensity normalisation.", choices=("robust-zscore", "divide-by-255"))] = (
        "robust-zscore"
    )
    epochs: Annotated[int, Option("Epochs.", low=1, high=100_000)] = 30
    batch: Annotated[int, Option("Batch size.", low=1, high=4096)] = 12
    loss: Annotated[
        str,
        Option(
            "Loss function. Auto: bce-dice for one label, ce-dice for several.",
            choices=("auto", "bce", "dice", "bce-dice", "ce", "ce-dice"),
        ),
    ] = "auto"
    optimiser: Annotated[str, Option("Optimiser.", choices=("adamw", "adam"))] = "adamw"
    learning_rate: Annotated[float, Option("Learning rate; the peak of a one-cycle schedule.", low=0.0, high=10.0)] = (
        2e-3
    )
    weight_decay: Annotated[float, Option("Weight decay.", low=0.0, high=10.0)] = 0.02
    grad_clip_norm: Annotated[float, Option("Gradient-norm clip; 0 disables it.", low=0.0, high=1e6)] = 5.0
    schedule: Annotated[
        str, Option("Learning-rate schedule.", choices=("one-cycle", "reduce-on-plateau", "constant"))
    ] = "one-cycle"
    patience: Annotated[
        int,
        Option(
            "Reduce-on-plateau: epochs without improvement before the learning rate is divided by 10.",
            low=0,
            high=10_000,
        ),
    ] = 5
    early_stopping: Annotated[
        int, Option("Early stopping: epochs without improvement; 0 disables it.", low=0, high=10_000)
    ] = 0
    monitor: Annotated[str, Option("Validation metric that selects the best checkpoint.", choices=("dice", "loss"))] = (
        "dice"
    )
    keep_checkpoint: Annotated[
        str,
        Option(
            "Which weights to keep. Last: no validation part is set aside, all images are trained on.",
            choices=("best", "last"),
        ),
    ] = "best"
    ema: Annotated[
        float, Option("Decay of the exponential moving average of the weights; 0 disables it.", low=0, high=0.99999)
    ] = 0.998

    augment: Annotated[bool, Option("Data augmentation: rotation, elastic deformation, brightness, blur.")] = True
    weak_augment_prob: Annotated[
        float, Option("Fraction of images with weak augmentation only (mirroring, small shifts).", low=0.0, high=1.0)
    ] = 0.0
    random_contrast: Annotated[
        float,
        Option("Fraction of images with a randomly changed contrast, field of view or resolution.", low=0.0, high=1.0),
    ] = 0.0
    lesion_removed_fraction: Annotated[
        float, Option("Fraction of a batch: training images whose lesion was removed.", low=0.0, high=0.9)
    ] = 0.0
    carvemix_fraction: Annotated[
        float,
        Option("CarveMix: fraction of training images whose lesion is pasted into another head.", low=0.0, high=1.0),
    ] = 0.0
    negative_share: Annotated[
        float, Option("Fraction of a batch from the folder of tumour-free images.", low=0.0, high=0.9)
    ] = 0.1
    split: Annotated[
        str,
        Option(
            "How test and validation sets are made. Auto: by the split column of the cases file, "
            "else by person where known, else by slice.",
            choices=("auto", "cases", "person", "slice"),
        ),
    ] = "auto"
    seed: Annotated[int, Option("Random seed.", low=0, high=2**31 - 1)] = 42
    classes: Annotated[
        str, Option("Column of the cases file that holds each image's class, where masks are binary.")
    ] = ""
    init_weights: Annotated[str, Option("Initial weights: a model file, an encoder's file, or 'imagenet'.")] = ""
    distill_from: Annotated[
        str, Option("Distillation: model files whose mean probability is a second target, comma-separated.")
    ] = ""
    distill_weight: Annotated[
        float,
        Option("Distillation: weight of the teachers' probability against the reference mask.", low=0.0, high=1.0),
    ] = 0.5
    precision: Annotated[
        str,
        Option(
            "Floating-point precision. Auto: the fastest safe one.", choices=("auto", "float32", "bfloat16", "float16")
        ),
    ] = "auto"
    device: Annotated[str, Option("Where the network runs.", choices=("auto", "cpu", "cuda"))] = "auto"
    tensorboard: Annotated[bool, Option("Also write TensorBoard logs.")] = False
    arguments: dict[str, Any] = field(default_factory=dict)
    progressive_stages: tuple[tuple[int, int, int], ...] = ()
    labels: tuple[str, ...] = ()
    model_card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """The progress of a long job.

    Parameters
    ----------
    done, total : int
        Number of finished and of all steps, 0 <= done <= total.
    message : str
        What is being done, in a few words.
    values : dict
        Intermediate results: numbers, strings or numpy arrays.
    """

    done: int
    total: int
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def device_choices(kind: type[Any]) -> tuple[str, ...]:
    """Return the devices that a settings dataclass allows, e.g. "auto", "cpu", "cuda"."""
    return next(option.choices for name, _, _, option in options_of(kind) if name == "device")


def options_of(settings: type[Any]) -> Iterator[tuple[str, type[Any], Any, Option]]:
    """Yield (name, type, default, option) for every field of a settings dataclass, in order."""
    hints = get_type_hints(settings, include_extras=True)
    for one in fields(settings):
        hint = hints[one.name]
        if get_origin(hint) is Annotated:
            kind, option = get_args(hint)[:2]
            yield one.name, kind, one.default, option
