"""Settings and progress: plain data that the form, the command line and the run card share.

A setting is written once, here: its type, default and `Option` make the form, the flag and the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Option:
    """How a setting is asked for.

    Parameters
    ----------
    text : str
        One line that says what the setting does, shown as tooltip and flag help.
    label : str
        Short caption in the form; the field name with spaces when empty.
    low, high, step : float, optional
        Bounds and step of a number.
    choices : tuple of str
        The allowed words of a text setting.
    """

    text: str
    label: str = ""
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class SegmentSettings:
    """What a person may choose when a scan is segmented."""

    threshold: Annotated[
        float, Option("A pixel is tumour where the network is at least this sure.", low=0.02, high=0.98, step=0.01)
    ] = 0.5
    flip_tta: Annotated[
        bool,
        Option(
            "Ask for a slice's left-right mirrored copy too, and keep what either sees where they disagree: "
            "finds more, half as fast. From the next run on.",
            label="mirrored copy too",
        ),
    ] = False
    min_object_size: Annotated[
        int,
        Option("Remove pieces with fewer pixels than this in a slice.", label="smallest object", low=0, high=100_000),
    ] = 0
    keep_largest: Annotated[bool, Option("Keep only the largest connected piece of each label.")] = False
    device: Annotated[str, Option("Where the network runs.", choices=("auto", "cpu", "cuda", "mps"))] = "auto"
    tiling: Annotated[
        str,
        Option(
            "A slice as a whole, shrunk to the network's size, or in windows at its own size. Auto: in windows when a "
            "side is longer than 1024 pixels.",
            choices=("auto", "whole", "tiled"),
        ),
    ] = "auto"
    downsample: Annotated[
        int, Option("In windows: image pixels that become one, along each side.", low=1, high=64, step=1)
    ] = 1
    memory: Annotated[
        int,
        Option("Memory for the work, in MB, beside network and program.", low=128, high=1 << 20),
    ] = 512
    precision: Annotated[
        str,
        Option(
            "Numbers in the network. Auto: the quickest kind that agrees with float32.",
            choices=("auto", "float32", "bfloat16", "float16"),
        ),
    ] = "auto"
    check_components: Annotated[
        bool,
        Option(
            "Leave out pieces that look unlike a tumour to the model, where its file has a classifier for them. "
            "From the next run on; a low threshold shows them, too.",
            label="leave out unlikely pieces",
        ),
    ] = True
    remove_isolated: Annotated[
        bool,
        Option(
            "Remove pieces that one slice of a volume shows and its neighbours do not, if they are wider than twice "
            "the distance of the slices.",
            label="drop lone pieces",
        ),
    ] = True


@dataclass(frozen=True)
class FinetuneSettings:
    """What a person may choose when a network is fine-tuned on corrected slices."""

    seconds: Annotated[
        float, Option("Time to learn, in seconds.", label="budget (s)", low=1.0, high=3600.0, step=1.0)
    ] = 10.0
    device: Annotated[str, Option("Where the network learns.", choices=("auto", "cpu", "cuda"))] = "auto"
    steps: Annotated[
        int,
        Option(
            "Stop after so many steps, 0 for when the time is over; fixed steps make it repeatable.",
            low=0,
            high=100_000,
        ),
    ] = 0
    seed: Annotated[int, Option("Start of all chance.", low=0, high=2**31 - 1)] = 0


@dataclass(frozen=True)
class TrainSettings:
    """What a person may choose when a network is trained; the fields without `Option` come from a settings file.

    Parameters
    ----------
    arguments : dict
        Keyword arguments of the network's builder, e.g. {"filters": [16, 32, 64]}.
    stages : tuple of (side, batch, epochs)
        Passes at growing image sides; one stage of `size`, `batch` and `epochs` when empty.
    labels : tuple of str
        Names of the mask values 1, 2, ...; "tumour" or "label N" when empty.
    card : dict
        What the model file says of itself: name, description, data, licence, channels.
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
    normalisation: Annotated[
        str, Option("How grey values are brought to one range.", choices=("robust-zscore", "divide-by-255"))
    ] = "robust-zscore"
    epochs: Annotated[int, Option("Passes over the training images.", low=1, high=100_000)] = 30
    batch: Annotated[int, Option("Images in one step.", low=1, high=4096)] = 12
    loss: Annotated[
        str,
        Option(
            "What is made small; auto: bce-dice for one label, ce-dice for several.",
            choices=("auto", "bce", "dice", "bce-dice", "ce", "ce-dice"),
        ),
    ] = "auto"
    optimiser: Annotated[str, Option("How the weights move.", choices=("adamw", "adam"))] = "adamw"
    learning_rate: Annotated[float, Option("Learning rate, the highest one of a one-cycle.", low=0.0, high=10.0)] = 2e-3
    weight_decay: Annotated[float, Option("Pull of the weights towards 0.", low=0.0, high=10.0)] = 0.02
    grad_clip_norm: Annotated[float, Option("Longest gradient, 0 for any.", low=0.0, high=1e6)] = 5.0
    schedule: Annotated[
        str, Option("How the learning rate changes.", choices=("one-cycle", "reduce-on-plateau", "constant"))
    ] = "one-cycle"
    patience: Annotated[int, Option("Passes without a gain before the rate falls to a tenth.", low=0, high=10_000)] = 5
    early_stopping: Annotated[int, Option("Passes without a gain before it ends, 0 for never.", low=0, high=10_000)] = 0
    monitor: Annotated[str, Option("What tells the best model on the validation part.", choices=("dice", "loss"))] = (
        "dice"
    )
    keep_checkpoint: Annotated[
        str, Option("The best pass, or the last one and train on the validation part too.", choices=("best", "last"))
    ] = "best"
    ema: Annotated[
        float, Option("Weight averaging: share of the old mean kept at a step, 0 for none.", low=0, high=0.99999)
    ] = 0.998
    deep_supervision: Annotated[int, Option("Coarser answers that are trained too (dynunet).", low=0, high=4)] = 0
    augment: Annotated[bool, Option("Show each image turned, bent, lit and blurred in new ways.")] = True
    weak_augment_prob: Annotated[
        float, Option("Share of the images that are only mirrored and moved a little instead.", low=0.0, high=1.0)
    ] = 0.0
    random_contrast: Annotated[
        float,
        Option("Share of the images with another contrast, field of view or resolution at random.", low=0.0, high=1.0),
    ] = 0.0
    lesion_removed_fraction: Annotated[
        float, Option("Share of a batch that shows training images with the tumour painted out.", low=0.0, high=0.9)
    ] = 0.0
    carvemix_fraction: Annotated[
        float, Option("Share of the training images whose tumour is shown in another head.", low=0.0, high=1.0)
    ] = 0.0
    negative_share: Annotated[
        float, Option("Share of a batch that comes from the folder of tumour-free images.", low=0.0, high=0.9)
    ] = 0.1
    split: Annotated[
        str,
        Option(
            "Test and validation part; auto: as the cases file says, else by person where known, else by slice.",
            choices=("auto", "cases", "person", "slice"),
        ),
    ] = "auto"
    seed: Annotated[int, Option("Start of all chance.", low=0, high=2**31 - 1)] = 42
    classes: Annotated[str, Option("Column of the cases file with each image's class; masks say only where.")] = ""
    init_weights: Annotated[str, Option("First weights: a model file, an encoder's file, or 'imagenet'.")] = ""
    distill_from: Annotated[
        str, Option("Model files whose mean answer is learnt beside the truth, with commas between them.")
    ] = ""
    distill_weight: Annotated[
        float, Option("How much the teachers' answer counts against the truth.", low=0.0, high=1.0)
    ] = 0.5
    precision: Annotated[
        str,
        Option(
            "Numbers in the network; auto: the fastest safe one.", choices=("auto", "float32", "bfloat16", "float16")
        ),
    ] = "auto"
    device: Annotated[str, Option("Where the network runs.", choices=("auto", "cpu", "cuda"))] = "auto"
    tensorboard: Annotated[bool, Option("Write curves for TensorBoard too.")] = False
    arguments: dict[str, Any] = field(default_factory=dict)
    progressive_stages: tuple[tuple[int, int, int], ...] = ()
    labels: tuple[str, ...] = ()
    model_card: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """One tick of a long job.

    Parameters
    ----------
    done, total : int
        Finished and all steps, 0 <= done <= total.
    message : str
        What is being done, a few words.
    values : dict
        What the tick carries: numbers, strings or numpy arrays.
    """

    done: int
    total: int
    message: str = ""
    values: dict[str, Any] = field(default_factory=dict)


def options_of(settings: type[Any]) -> Iterator[tuple[str, type[Any], Any, Option]]:
    """Yield (name, type, default, Ask) for every field of a settings dataclass, in order."""
    hints = get_type_hints(settings, include_extras=True)
    for one in fields(settings):
        hint = hints[one.name]
        if get_origin(hint) is Annotated:
            kind, ask = get_args(hint)[:2]
            yield one.name, kind, one.default, ask
