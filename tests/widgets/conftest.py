"""A real viewer, a real worker shared by all tests, and models whose answer is known for every pixel."""

import gc
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from app_model import Application
from npe2 import PluginManifest
from qtpy.QtCore import Qt
from safetensors.numpy import save_file

from napari_unet_tumour import jobs
from napari_unet_tumour.models.spec import KEY, ModelSpec
from napari_unet_tumour.settings import Progress

SIDE = 64
WAIT_MS = 150_000
TAKES = {"seconds": 5, "of": "tutorial-unet, auto"}


def save_known(path: Path, channels: tuple[str, ...] = ("grey",), **changes: Any) -> Path:
    """Save a tutorial U-Net that is sigmoid(8 (x / 255 - 0.5)) of its first channel, at every pixel."""
    state: dict[str, np.ndarray] = {}

    def convolution(
        name: str, inputs: int, source: int | None, side: int = 3, gain: float = 1.0, add: float = 0.0
    ) -> None:
        weight = np.zeros((1, inputs, side, side), np.float32)
        if source is not None:
            weight[0, source, side // 2, side // 2] = gain
        state.update({f"{name}.weight": weight, f"{name}.bias": np.full(1, add, np.float32)})

    def norm(name: str) -> None:
        ones, zeros = np.ones(1, np.float32), np.zeros(1, np.float32)
        state.update({f"{name}.weight": ones, f"{name}.bias": zeros, f"{name}.running_mean": zeros.copy()})
        state.update({f"{name}.running_var": ones - 1e-3, f"{name}.num_batches_tracked": np.zeros((), np.int64)})

    for block, inputs, source in (("encoders.0", len(channels), 0), ("bridge", 1, None), ("decoders.0", 2, 1)):
        convolution(f"{block}.0", inputs, source)
        convolution(f"{block}.3", 1, 0)
        norm(f"{block}.1")
        norm(f"{block}.4")
    state |= {"ups.0.weight": np.zeros((1, 1, 2, 2), np.float32), "ups.0.bias": np.zeros(1, np.float32)}
    convolution("head", 1, 0, side=1, gain=8.0, add=-4.0)
    given = {"normalisation": "divide-by-255", "size": SIDE, "description": "Bright is tumour.", "data": "nothing"}
    spec = ModelSpec(
        path.stem, "tutorial-unet", {"filters": [1, 1]}, channels, scores={"dice_mean": 0.9}, **given | changes
    )
    save_file(state, path, {KEY: json.dumps(asdict(spec))})
    return path


@pytest.fixture(scope="module", autouse=True)
def _settle_garbage() -> None:
    """Let later collections pass over what is there already, modules above all."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def _quick_viewers() -> Iterator[None]:
    """Spare every viewer what is the same each time.

    napari reads the manifests of all plugins again, writes its welcome screen anew for each of 170 keys, and collects
    garbage for every layer that goes (`make_napari_viewer` does that after each test). Where a window is gone in Qt
    and not yet in Python, the end of its application is 190 errors that nobody sees, of a tenth of a second each.
    """
    found, dispose = list(PluginManifest.discover()), Application.dispose

    def end(app: Application) -> None:
        app.menus.menus_changed.block()
        dispose(app)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PluginManifest, "discover", lambda paths=(): iter(found))
        patch.setattr(Application, "dispose", end)
        patch.setattr("napari._vispy.canvas.gc", SimpleNamespace(collect=lambda: 0))
        patch.setattr("napari._qt.widgets.qt_welcome.QtWelcomeWidget.refresh", lambda *_: None, raising=False)
        yield


@pytest.fixture(scope="session", name="save_known")
def _save_known() -> Callable[..., Path]:
    """Return what writes the model file whose answers are known."""
    return save_known


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of models: "known" (one channel), "four" (four channels), "slow" (works on many pixels),
    "two" (two labels in its header; cannot run)."""
    folder = tmp_path_factory.mktemp("models")
    save_known(folder / "known.safetensors")
    save_known(folder / "four.safetensors", ("T1", "T1ce", "T2", "FLAIR"))
    save_known(folder / "slow.safetensors", size=1024)
    save_known(folder / "two.safetensors", labels=("background", "edge", "core"))
    return folder


@pytest.fixture(autouse=True)
def home(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of its own for each test, with the model "known" alone installed; ticks are not carried on.

    How long a fine-tuning takes is known: it is not measured beside the tests.
    """
    home = tmp_path / "home"
    (home / "models").mkdir(parents=True)
    (home / "settings.json").write_text(json.dumps({"carry": {"on": False}, "fine-tuning": TAKES}))
    shutil.copy(models / "known.safetensors", home / "models")
    monkeypatch.setenv("NAPARI_UNET_TUMOUR_HOME", str(home))
    monkeypatch.setattr("napari_unet_tumour.models.registry.SHIPPED", tmp_path / "nothing ships")
    return home


@pytest.fixture(scope="session", autouse=True)
def worker() -> Iterator[None]:
    """End the worker that the tests share."""
    yield
    jobs.shutdown()


@pytest.fixture(scope="module")
def stand_in() -> Iterator[None]:
    """Let the worker run tune_tasks.iter_tune in place of the engine's fine-tuning."""
    jobs.shutdown()
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(Path(__file__).parents[1])
        patch.setitem(jobs.TASKS, "finetune", "tune_tasks:iter_tune")
        yield
        jobs.shutdown()


class Opened(SimpleNamespace):
    """A viewer with the widget, and what a person does with it."""

    def click(self, button: Any) -> None:
        self.qtbot.mouseClick(button.native, Qt.MouseButton.LeftButton)

    def wait(self, until: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(until, timeout=WAIT_MS)

    def run(self) -> Any:
        """Click Run, wait for the end, return the mask layer (the last one)."""
        self.click(self.panel.run)
        self.wait(lambda: not self.widget.running)
        return self.viewer.layers[-1]

    @property
    def status(self) -> str:
        return str(self.panel.status.value)

    def close(self) -> None:
        """Close the dock as its close button does."""
        self.viewer.window.remove_dock_widget(self.widget.native)


@pytest.fixture
def opened(make_napari_viewer: Any, qtbot: Any) -> Callable[..., Opened]:
    """Open a viewer, let `add(viewer)` add layers, and open the widget from the plugin menu."""

    def open_(add: Callable[[Any], Any] = lambda viewer: None, widget: str = "Segment", **options: Any) -> Opened:
        viewer = make_napari_viewer(**{"strict_qt": "raise", **options})
        add(viewer)
        _, docked = viewer.window.add_plugin_dock_widget("napari-unet-tumour", widget)
        return Opened(viewer=viewer, widget=docked, panel=docked._panel, qtbot=qtbot)

    return open_


@pytest.fixture
def scan() -> Callable[..., np.ndarray]:
    """Return a function of a shape that makes grey values 0..255: a bright hill at another place on every plane."""
    return hills


def hills(*shape: int) -> np.ndarray:
    planes = np.zeros((int(np.prod(shape[:-2])), *shape[-2:]), np.uint8)
    rows, columns = np.mgrid[: shape[-2], : shape[-1]]
    for n, plane in enumerate(planes):
        away = np.hypot(rows - shape[-2] / 2 - n % 5, columns - shape[-1] / 2 + n % 7)
        plane[...] = np.clip(240 - 9 * away, 20, 255)
        plane[abs(plane.astype(int) - 127) < 8] = 135  # nothing at the brink: bf16 may fall either way
    return planes.reshape(shape)


class Instant:
    """What answers in place of the worker: bright is tumour, at once; `gate` may hold the answers back."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.brighter_than = 127
        self.asked = 0
        self.more: dict[str, Any] = {}

    def submit(self, name: str, *args: Any, on_event: Callable[[Any], None], **options: Any) -> Any:
        gone = threading.Event()
        threading.Thread(target=self._answer, args=(name, args, on_event, gone), daemon=True).start()
        return SimpleNamespace(cancel=gone.set)

    def _answer(self, name: str, args: Any, on_event: Callable[[Any], None], gone: threading.Event) -> None:
        if name != "segment_planes":
            on_event(jobs.Done("nothing"))
            return
        self.gate.wait(30)
        if gone.is_set():
            on_event(jobs.Cancelled())
            return
        found = np.where(args[1][:, :1] > self.brighter_than, 255, 0).astype(np.uint8)
        self.asked += len(found)
        values = {"planes": range(len(found)), "probability": found, **self.more}
        on_event(jobs.ProgressEvent(Progress(len(found), len(found), "", values)))
        on_event(jobs.Done(found))


@pytest.fixture
def instant(monkeypatch: pytest.MonkeyPatch) -> Instant:
    """Answer in place of the worker, which is not started."""
    stand_in = Instant()
    monkeypatch.setattr(jobs, "submit", stand_in.submit)
    return stand_in
