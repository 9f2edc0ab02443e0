"""Settings and progress: plain data that the form, the command line and the run card share.

A setting is written once, here: its type, default and `Ask` make the form, the flag and the docs.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class Ask:
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
        float, Ask("A pixel is tumour where the network is at least this sure.", low=0.02, high=0.98, step=0.01)
    ] = 0.5
    flips: Annotated[
        bool,
        Ask(
            "Ask for a slice's left-right mirrored copy too, and keep what either sees where they disagree: "
            "finds more, half as fast. From the next run on.",
            label="mirrored copy too",
        ),
    ] = False
    smallest: Annotated[
        int, Ask("Remove pieces with fewer pixels than this in a slice.", label="smallest object", low=0, high=100_000)
    ] = 0
    keep_largest: Annotated[bool, Ask("Keep only the largest connected piece of each label.")] = False
    device: Annotated[str, Ask("Where the network runs.", choices=("auto", "cpu", "cuda", "mps"))] = "auto"
    windows: Annotated[
        str,
        Ask(
            "A slice as a whole, shrunk to the network's size, or in windows at its own size. Auto: in windows when a "
            "side is longer than 1024 pixels.",
            choices=("auto", "whole", "tiled"),
        ),
    ] = "auto"
    shrink: Annotated[
        int, Ask("In windows: image pixels that become one, along each side.", low=1, high=64, step=1)
    ] = 1
    memory: Annotated[
        int,
        Ask("Memory for the work, in MB, beside network and program.", low=128, high=1 << 20),
    ] = 512
    precision: Annotated[
        str,
        Ask(
            "Numbers in the network. Auto: the quickest kind that agrees with float32.",
            choices=("auto", "float32", "bfloat16", "float16"),
        ),
    ] = "auto"
    drop_lone: Annotated[
        bool,
        Ask(
            "Remove pieces that one slice of a volume shows and its neighbours do not, if they are wider than twice "
            "the distance of the slices.",
            label="drop lone pieces",
        ),
    ] = True


@dataclass(frozen=True)
class FinetuneSettings:
    """What a person may choose when a network is fine-tuned on corrected slices."""

    seconds: Annotated[float, Ask("Time to learn, in seconds.", label="budget (s)", low=1.0, high=3600.0, step=1.0)] = (
        10.0
    )
    device: Annotated[str, Ask("Where the network learns.", choices=("auto", "cpu", "cuda"))] = "auto"
    steps: Annotated[
        int,
        Ask(
            "Stop after so many steps, 0 for when the time is over; fixed steps make it repeatable.",
            low=0,
            high=100_000,
        ),
    ] = 0
    seed: Annotated[int, Ask("Start of all chance.", low=0, high=2**31 - 1)] = 0


@dataclass(frozen=True)
class TrainSettings:
    """What a person may choose when a network is trained; the fields without `Ask` come from a settings file.

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
        Ask(
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
    channels: Annotated[int, Ask("Channels of an image: 1 grey, 3 colour.", low=1, high=16)] = 1
    size: Annotated[int, Ask("Side of the working image in pixels, a multiple of 32.", low=32, high=2048, step=32)] = (
        256
    )
    normalisation: Annotated[
        str, Ask("How grey values are brought to one range.", choices=("robust-zscore", "divide-by-255"))
    ] = "robust-zscore"
    epochs: Annotated[int, Ask("Passes over the training images.", low=1, high=100_000)] = 30
    batch: Annotated[int, Ask("Images in one step.", low=1, high=4096)] = 12
    loss: Annotated[
        str,
        Ask(
            "What is made small; auto: bce-dice for one label, ce-dice for several.",
            choices=("auto", "bce", "dice", "bce-dice", "ce", "ce-dice"),
        ),
    ] = "auto"
    optimiser: Annotated[str, Ask("How the weights move.", choices=("adamw", "adam"))] = "adamw"
    rate: Annotated[float, Ask("Learning rate, the highest one of a one-cycle.", low=0.0, high=10.0)] = 2e-3
    weight_decay: Annotated[float, Ask("Pull of the weights towards 0.", low=0.0, high=10.0)] = 0.02
    clip: Annotated[float, Ask("Longest gradient, 0 for any.", low=0.0, high=1e6)] = 5.0
    schedule: Annotated[
        str, Ask("How the learning rate changes.", choices=("one-cycle", "reduce-on-plateau", "constant"))
    ] = "one-cycle"
    patience: Annotated[int, Ask("Passes without a gain before the rate falls to a tenth.", low=0, high=10_000)] = 5
    early_stop: Annotated[int, Ask("Passes without a gain before it ends, 0 for never.", low=0, high=10_000)] = 0
    watch: Annotated[str, Ask("What tells the best model on the validation part.", choices=("dice", "loss"))] = "dice"
    keep: Annotated[
        str, Ask("The best pass, or the last one and train on the validation part too.", choices=("best", "last"))
    ] = "best"
    ema: Annotated[
        float, Ask("Weight averaging: share of the old mean kept at a step, 0 for none.", low=0, high=0.99999)
    ] = 0.998
    deep_supervision: Annotated[int, Ask("Coarser answers that are trained too (dynunet).", low=0, high=4)] = 0
    augment: Annotated[bool, Ask("Show each image turned, bent, lit and blurred in new ways.")] = True
    calm: Annotated[
        float, Ask("Share of the images that are only mirrored and moved a little instead.", low=0.0, high=1.0)
    ] = 0.0
    twin_share: Annotated[
        float, Ask("Share of a batch that shows training images with the tumour painted out.", low=0.0, high=0.9)
    ] = 0.0
    graft_share: Annotated[
        float, Ask("Share of the training images whose tumour is shown in another head.", low=0.0, high=1.0)
    ] = 0.0
    negative_share: Annotated[
        float, Ask("Share of a batch that comes from the folder of tumour-free images.", low=0.0, high=0.9)
    ] = 0.1
    split: Annotated[
        str,
        Ask(
            "Test and validation part; auto: as the cases file says, else by person where known, else by slice.",
            choices=("auto", "cases", "person", "slice"),
        ),
    ] = "auto"
    seed: Annotated[int, Ask("Start of all chance.", low=0, high=2**31 - 1)] = 42
    classes: Annotated[str, Ask("Column of the cases file with each image's class; masks say only where.")] = ""
    start: Annotated[str, Ask("First weights: a model file, an encoder's file, or 'imagenet'.")] = ""
    teachers: Annotated[
        str, Ask("Model files whose mean answer is learnt beside the truth, with commas between them.")
    ] = ""
    teach_share: Annotated[float, Ask("How much the teachers' answer counts against the truth.", low=0.0, high=1.0)] = (
        0.5
    )
    precision: Annotated[
        str,
        Ask("Numbers in the network; auto: the fastest safe one.", choices=("auto", "float32", "bfloat16", "float16")),
    ] = "auto"
    device: Annotated[str, Ask("Where the network runs.", choices=("auto", "cpu", "cuda"))] = "auto"
    tensorboard: Annotated[bool, Ask("Write curves for TensorBoard too.")] = False
    arguments: dict[str, Any] = field(default_factory=dict)
    stages: tuple[tuple[int, int, int], ...] = ()
    labels: tuple[str, ...] = ()
    card: dict[str, Any] = field(default_factory=dict)


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


def asked(settings: type[Any]) -> Iterator[tuple[str, type[Any], Any, Ask]]:
    """Yield (name, type, default, Ask) for every field of a settings dataclass, in order."""
    hints = get_type_hints(settings, include_extras=True)
    for one in fields(settings):
        hint = hints[one.name]
        if get_origin(hint) is Annotated:
            kind, ask = get_args(hint)[:2]
            yield one.name, kind, one.default, ask
