"""Window and level: which grey values of a scan are shown from black to white."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Values along each axis of a scan that are looked at.
SAMPLES = 64
LOWEST, HIGHEST = 0.5, 99.8
AUTOMATIC, WHOLE = "Automatic", "Whole range"
# Level and width in Hounsfield units, as radiologists use them.
CT = {
    "Brain": (40.0, 80.0),
    "Stroke": (35.0, 40.0),
    "Soft tissue": (40.0, 400.0),
    "Liver": (60.0, 160.0),
    "Lung": (-600.0, 1500.0),
    "Bone": (400.0, 1800.0),
}
# Percentiles of what is brighter than the background.
MR = {"Soft contrast": (0.0, 99.98), "Strong contrast": (10.0, 98.0), "Bright lesions": (40.0, 99.95)}
# The most of a scan, without its background, that may be white, or black, at opening.
WHITE, BLACK = 0.05, 0.5
# Of CT bone and air are white and black on purpose: this share must lie between.
BETWEEN = 0.1


@dataclass(frozen=True)
class Window:
    """Grey values from black to white.

    Parameters
    ----------
    low, high : float
        `low` is below `high`.
    """

    low: float
    high: float

    @property
    def level(self) -> float:
        """The value in the middle."""
        return (self.low + self.high) / 2

    @property
    def width(self) -> float:
        """High minus low."""
        return self.high - self.low

    @classmethod
    def of(cls, level: float, width: float) -> Window:
        """Return the window with a level and a width."""
        return cls(level - width / 2, level + width / 2)

    def relative_to(self, other: Window) -> tuple[float, float]:
        """Return low and high as shares of another window, 0 and 1 for that window itself."""
        return (self.low - other.low) / other.width, (self.high - other.low) / other.width

    def part(self, shares: tuple[float, float]) -> Window:
        """Return the window that `relative_to` has given these shares of."""
        return Window(self.low + shares[0] * self.width, self.low + shares[1] * self.width)


def sample(array: Any) -> NDArray[np.float64]:
    """Return finite values (n,) from all over an array, at most 64 along each axis."""
    steps = tuple(slice(None, None, max(1, n // SAMPLES)) for n in array.shape)
    values = np.asarray(array[steps], np.float64).ravel()
    finite: NDArray[np.float64] = values[np.isfinite(values)]
    return finite


def automatic(values: NDArray[np.float64]) -> Window:
    """Return a window by percentiles of what is not background; a few extreme values do not count."""
    if not values.size or values.min() == values.max():
        start = float(values[0]) if values.size else 0.0
        return Window(start, start + 1.0)
    low = float(np.percentile(values, LOWEST))
    high = float(np.percentile(_without_background(values), HIGHEST))
    return Window(low, high) if high > low else Window(float(values.min()), float(values.max()))


def opening(values: NDArray[np.float64], modality: str = "", header: Sequence[float] | None = None) -> Window:
    """Return the window to open a scan with.

    Parameters
    ----------
    values : numpy.ndarray
        From `sample`.
    modality : str
        "CT", "MR", ... or "" where it is not known.
    header : (level, width), optional
        What the scanner wrote; it is taken where the pixels can be seen with it.

    Returns
    -------
    Window
        The header's, else soft tissue for CT, else `automatic`.
    """
    hounsfield = is_hounsfield(values, modality)
    candidates = [] if header is None or not header[1] > 0 else [Window.of(header[0], header[1])]
    candidates += [Window.of(*CT["Soft tissue"])] if hounsfield else []
    ct = hounsfield or modality == "CT"
    return next((one for one in candidates if is_visible(one, values, ct)), automatic(values))


def presets(values: NDArray[np.float64], modality: str = "") -> dict[str, Window]:
    """Return windows by name: those of CT for Hounsfield units, else percentiles of these values."""
    found = {AUTOMATIC: automatic(values)}
    if is_hounsfield(values, modality):
        found |= {name: Window.of(*numbers) for name, numbers in CT.items()}
    elif values.size and values.min() < values.max():
        bright = _without_background(values)
        pairs = {name: np.percentile(bright, shares) for name, shares in MR.items()}
        found |= {name: Window(float(a), float(b)) for name, (a, b) in pairs.items() if a < b}
    if values.size and values.min() < values.max():
        found[WHOLE] = Window(float(values.min()), float(values.max()))
    return found


def is_hounsfield(values: NDArray[np.float64], modality: str = "") -> bool:
    """Tell whether values are Hounsfield units: of a CT, or, where that is not known, from air to bone."""
    if modality not in ("CT", "") or not values.size:
        return False
    lowest, highest = (-100, -100) if modality == "CT" else (-900, 200)
    return bool(values.min() <= lowest and values.max() >= highest and values.min() >= -5000)


def is_visible(window: Window, values: NDArray[np.float64], ct: bool = False) -> bool:
    """Tell whether a window shows values: neither too many white, nor too many black, nor all of them alike.

    Windows of CT cut off bone and air on purpose: a share of `BETWEEN` must be grey.
    """
    if not values.size or values.min() == values.max():
        return False
    bright = _without_background(values)
    white, black = float(np.mean(bright >= window.high)), float(np.mean(bright <= window.low))
    if ct:
        return 1 - white - black >= BETWEEN
    reach = automatic(values).width
    return white <= WHITE and black <= BLACK and window.width <= 4 * reach


def _without_background(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the values above the lowest one, which is that of the background."""
    bright: NDArray[np.float64] = values[values > values.min()]
    return bright
