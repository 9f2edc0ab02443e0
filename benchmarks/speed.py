"""Speed and memory of segmentation and training, relative to other programs and to the machine's limits.

    python benchmarks/speed.py [--quick] [--only PARTS] [--model NAME|FILE] [--keras-python PYTHON] [--json OUT]

segment     slices/s from array to mask on the CPU, in rounds, on the quiet machine and beside two busy loops: this
            package, its torch path, MONAI's sliding_window_inference in eager float32 with the same weights and
            preprocessing; the network alone in OpenVINO, if installed, and in int8; agreement of the masks
default_scan  a scan of 155 slices of 240 x 240 with the model's own settings (with the mirror image)
cold        seconds from the start of a process to the first mask: of a worker as the widget starts it, and of
            `segment` of one PNG from the shell
roof        the machine's limit: a large matrix product and a 3 x 3 convolution in the network's precision, and the
            fraction of the convolution's speed that the network reaches
train_step  one step of the tutorial's U-Net and of the model's network; the tutorial's Keras model with --keras-python
            (the python of an environment with TensorFlow); with and without kept buffers
growth      time and memory from 1 to 1000 slices, and from 256 to 16384 pixels per side, each in a separate process
gpu         with a CUDA GPU: slices/s of the model only and end to end, one slice, a scan of 155 slices of 240 x 240
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from _machine import command, machine, show

BTP = Path(__file__).parents[2] / "shared/data/btp"
PARTS = ("segment", "default_scan", "cold", "roof", "train_step", "growth", "gpu")
SLICES, SIDES = (1, 10, 100, 1000), (256, 1024, 4096, 16384)


def main() -> None:
    given = arguments()
    if given.child:
        print(json.dumps(grow_in_this_process(given)))
        return
    report = {"command": command(), "machine": machine()}
    show(report)
    for part in given.only.split(","):
        report[part] = globals()[f"part_{part}"](given, report)
        print(f"\n{part}")
        tell(report[part])
    if given.json:
        Path(given.json).write_text(json.dumps(report, indent=1))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes: only shows that it runs, in about a minute")
    parser.add_argument("--only", default=",".join(PARTS), help=f"some of {','.join(PARTS)}")
    parser.add_argument("--model", default="default", help="name of an installed model, or a file")
    parser.add_argument("--keras-python", help="python of an environment with TensorFlow")
    parser.add_argument("--json", help="write all figures here")
    parser.add_argument("--child", nargs=2, type=int, metavar=("SLICES", "SIDE"), help=argparse.SUPPRESS)
    return parser.parse_args()


def tell(part: dict, indent: int = 2) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            print(f"{' ' * indent}{name}")
            tell(value, indent + 2)
        else:
            print(f"{' ' * indent}{name:34} {f'{value:.4g}' if isinstance(value, float) else value}")


def best(work, times: int) -> float:
    """Return the seconds of the fastest of several runs, after one warm-up run."""
    work()
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def scan(count: int, side: int) -> np.ndarray:
    """Return real slices if they lie beside the project, else synthetic ones, as (count, side, side)."""
    from napari_unet_tumour import scans
    from napari_unet_tumour.phantom import phantom

    files = sorted(BTP.glob("*/*_Scan_T1.nii.gz"))
    found = np.concatenate([np.asarray(scans.read(f).array) for f in files[:2]]) if files else phantom()[0].array
    found = np.asarray(found)[:, : min(side, found.shape[1]), : min(side, found.shape[2])]
    pad = [(0, 0), *((0, side - n) for n in found.shape[1:])]
    found = np.pad(found.astype(np.float32), pad)
    return np.resize(found, (count, side, side)).astype(np.int16)


# ---- ours and MONAI's -------------------------------------------------------------------------------------------


def part_segment(given: argparse.Namespace, report: dict) -> dict:
    from napari_unet_tumour import load_model
    from napari_unet_tumour.engine.inference.loading import describe_device

    model = load_model(given.model)
    size, count = model.spec.size, 4 if given.quick else 32
    volume = scan(count, size)
    rows = rows_of(model, volume)
    rounds = 1 if given.quick else 5
    quiet, loaded = timed_rounds(rows, rounds), {}
    with busy_loops(2):
        loaded = timed_rounds({name: rows[name] for name in ("ours", "monai")}, rounds)
    a, b = rows["ours"]() > 0, rows["monai"]() > 0
    found = {"device": describe_device("cpu"), "slices": count, "side": size, "rounds": rounds}
    found |= {f"{name}_slices_per_s": count / min(taken) for name, taken in quiet.items()}
    found |= {"ratio": ratio_of(quiet), "loaded_ratio": ratio_of(loaded)}
    found |= {f"loaded_{name}_slices_per_s": count / min(taken) for name, taken in loaded.items()}
    found["mask_agreement_dice"] = float(2 * (a & b).sum() / max(1, a.sum() + b.sum())) if (a | b).any() else 1.0
    if "int8" in rows:
        found["int8_agreement_dice"] = agreement_of_int8(model, volume, rows)
    return found


def ratio_of(rounds: dict[str, list[float]]) -> float:
    """Return the speed relative to MONAI: the median over rounds, each with a different load of the machine."""
    return float(np.median(np.divide(rounds["monai"], rounds["ours"])))


def timed_rounds(rows: dict, rounds: int) -> dict[str, list[float]]:
    """Time the rows in short turns, so that a slow minute of the machine affects all of them."""
    taken: dict[str, list[float]] = {name: [] for name in rows}
    for work in rows.values():
        work()
    for _ in range(rounds):
        for name, work in rows.items():
            start = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - start)
    return taken


@contextmanager
def busy_loops(count: int):
    """Run so many busy processes meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in loops:
            one.kill()
            one.wait()


def rows_of(model, volume: np.ndarray) -> dict:
    """Return the functions to time, by name: each returns the masks of a volume; other runtimes only the logits."""
    import torch
    from monai.inferers.utils import sliding_window_inference

    from napari_unet_tumour.base.slicing import layout_of
    from napari_unet_tumour.engine.inference.preprocess import to_working_planes
    from napari_unet_tumour.engine.inference.segment import segment
    from napari_unet_tumour.settings import SegmentSettings

    spec = model.spec
    ask = SegmentSettings(threshold=spec.threshold, device="cpu")
    layout = layout_of(volume.shape)

    def ours(runtime: str = "") -> np.ndarray:
        with environment("NAPARI_UNET_TUMOUR_RUNTIME", runtime):
            return segment(model, volume, layout, ask).mask

    @torch.inference_mode()
    def monai() -> np.ndarray:
        """Predict as MONAI's users do: preprocess all slices, then windows of the network's size in eager float32."""
        planes = to_working_planes(volume[:, None], spec)
        logits = sliding_window_inference(planes.working, (spec.size, spec.size), 8, model.net)
        probability = logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(1)[:, 1:]
        return (planes.frame.back(probability).sum(1) >= spec.threshold).numpy().astype(np.uint8)

    working = to_working_planes(volume[:, None], spec).working.numpy()
    rows = {"ours": ours, "torch": lambda: ours("torch"), "monai": monai}
    return rows | other_runtimes(model, working)


@contextmanager
def environment(name: str, value: str):
    """Set an environment variable while the context is open; an empty value changes nothing."""
    before = os.environ.get(name)
    if value:
        os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)
        if before is not None:
            os.environ[name] = before


def other_runtimes(model, working: np.ndarray) -> dict:
    """Return the network alone in OpenVINO, if installed, and in int8 in ONNX Runtime."""
    import tempfile

    from napari_unet_tumour.engine.inference.accelerate import probe_of
    from napari_unet_tumour.engine.inference.onnx_export import as_onnx

    folder = Path(tempfile.mkdtemp())
    (folder / "float32.onnx").write_bytes(as_onnx(model.net, probe_of(model.spec.in_channels)))
    rows = {"int8": int8_of(model, folder, working)}
    try:
        import openvino
    except ImportError:
        return rows
    settings = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
    compiled = openvino.Core().compile_model(folder / "float32.onnx", "CPU", settings)
    queue = openvino.AsyncInferQueue(compiled)

    def openvino_row() -> None:
        for one in working:
            queue.start_async({0: one[None]})
        queue.wait_all()

    return {"openvino": openvino_row, **rows}


def int8_of(model, folder: Path, working: np.ndarray):
    """Quantise the network on slices of the phantom; return a function that runs it on `working`, a slice per core."""
    from concurrent.futures import ThreadPoolExecutor

    import onnxruntime
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    from napari_unet_tumour.phantom import phantom
    from napari_unet_tumour.runtime.preprocess import as_planes
    from napari_unet_tumour.runtime.processor import threads

    made = np.asarray(phantom()[0].array)[:, None]
    made = np.repeat(made, model.spec.in_channels, axis=1)
    slices = iter(as_planes(made, model.spec).working[::4])

    class Slices(CalibrationDataReader):
        def get_next(self):
            one = next(slices, None)
            return None if one is None else {"image": one[None]}

    # The normalisation is folded first; otherwise it would be quantised separately.
    quant_pre_process(folder / "float32.onnx", folder / "folded.onnx", skip_symbolic_shape=True)
    target, kind = folder / "int8.onnx", QuantFormat.QDQ
    quantize_static(folder / "folded.onnx", target, Slices(), quant_format=kind, per_channel=True, reduce_range=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(target, options, providers=["CPUExecutionProvider"])
    pool = ThreadPoolExecutor(threads())
    return lambda: np.concatenate(list(pool.map(lambda one: session.run(None, {"image": one[None]})[0], working)))


def agreement_of_int8(model, volume: np.ndarray, rows: dict) -> float:
    """Return the Dice of the int8 masks with those of MONAI in float32."""
    import torch

    from napari_unet_tumour.engine.inference.accelerate import to_probability
    from napari_unet_tumour.engine.inference.preprocess import to_working_planes

    planes = to_working_planes(volume[:, None], model.spec)
    found = planes.frame.back(to_probability(torch.from_numpy(rows["int8"]()))).sum(1) >= model.spec.threshold
    a, b = found.numpy(), rows["monai"]() > 0
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum())) if (a | b).any() else 1.0


def part_default_scan(given: argparse.Namespace, report: dict) -> dict:
    from napari_unet_tumour import segment

    count = 8 if given.quick else 155
    volume = scan(count, 240)
    seconds = best(lambda: segment(volume, given.model), 1 if given.quick else 3)
    few = best(lambda: segment(volume[:24], given.model), 1 if given.quick else 3)
    per_second = count / seconds
    return {"slices_per_s": per_second, "seconds_155": 155 / per_second, "seconds_24": few, "slices": count}


FIRST_MASK = """
import time; start = time.perf_counter()
import numpy as np
from napari_unet_tumour import jobs
from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import SegmentSettings
entry = registry.find({model!r})
jobs.preload(str(entry.path))
planes = np.random.default_rng(0).random((1, entry.spec.in_channels, 256, 256), np.float32)
words = "segment_planes", str(entry.path), planes, SegmentSettings(**entry.spec.defaults)
jobs.run(*words); cold = time.perf_counter() - start
start = time.perf_counter(); jobs.run(*words); print(cold, time.perf_counter() - start)
"""


def part_cold(given: argparse.Namespace, report: dict) -> dict:
    """Time processes from their start; the fastest of a few, because the first one reads from the disk."""
    import tempfile

    from PIL import Image

    folder = Path(tempfile.mkdtemp())
    Image.fromarray((scan(12, 256)[11] // 16).clip(0, 255).astype(np.uint8)).save(folder / "one.png")
    code = FIRST_MASK.format(model=given.model)
    shell = [sys.executable, "-m", "napari_unet_tumour", "segment", str(folder / "one.png"), "--out", str(folder)]
    first, single, warm = [], [], []
    for _ in range(1 if given.quick else 3):
        start = time.perf_counter()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        ended = time.perf_counter() - start
        cold, again = map(float, done.stdout.split())
        # With the start of the interpreter, without the end of the process.
        first.append(min(ended, cold + 0.05))
        warm.append(again)
        start = time.perf_counter()
        subprocess.run([*shell, "--model", given.model], capture_output=True, check=True)
        single.append(time.perf_counter() - start)
    return {"first_mask_s": min(first), "warm_mask_s": min(warm), "cli_one_slice_s": min(single)}


# ---- the roof ---------------------------------------------------------------------------------------------------


def part_roof(given: argparse.Namespace, report: dict) -> dict:
    import torch

    from napari_unet_tumour import load_model
    from napari_unet_tumour.engine.inference.accelerate import accelerated

    model = load_model(given.model)
    run = accelerated(model, torch.device("cpu"))
    side, times = (1024, 2) if given.quick else (4096, 3)
    a, b = (torch.randn(side, side).to(run.dtype) for _ in range(2))
    x = torch.randn(8, 64, 128, 128).to(run.dtype, memory_format=torch.channels_last)
    convolution = torch.nn.Conv2d(64, 64, 3, padding=1).to(run.dtype, memory_format=torch.channels_last)
    with torch.inference_mode():
        product = 2 * side**3 / best(lambda: a @ b, times) / 1e9
        conv = 2 * x.numel() * 64 * 9 / best(lambda: convolution(x), times) / 1e9
    work = flop_of(model) / 1e9
    planes = torch.randn(8, model.spec.in_channels, model.spec.size, model.spec.size)
    reached = 8 * work / best(lambda: run.probability(planes, False), times)
    return {
        "precision": str(run.dtype).removeprefix("torch."), "matrix_product_gflop_s": product,
        "convolution_gflop_s": conv, "network_gflop_a_slice": work, "network_gflop_s": reached,
        "share_of_convolution": reached / conv, "share_of_matrix_product": reached / product,
        "share_of_time": time_by_operation(lambda: run.probability(planes, False)),
    }  # fmt: skip


def time_by_operation(work, most: int = 8) -> dict[str, float]:
    """Return the fraction of the time that each kind of operation takes, the longest first."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3):
            work()
    taken = {event.key.removeprefix("aten::"): event.self_cpu_time_total for event in found.key_averages()}
    longest = sorted(taken, key=taken.__getitem__, reverse=True)[:most]
    return {name: taken[name] / sum(taken.values()) for name in longest}


def flop_of(model) -> float:
    """Return the floating point operations of one slice as counted by torch, two per multiplication."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    size = model.spec.size
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        model.net(torch.zeros(1, model.spec.in_channels, size, size))
    return float(counter.get_total_flops())


# ---- a training step --------------------------------------------------------------------------------------------


def part_train_step(given: argparse.Namespace, report: dict) -> dict:
    from napari_unet_tumour import load_model

    spec = load_model(given.model).spec
    batch, size = (1, 64) if given.quick else (2, 256)
    ours = spec.network, spec.arguments, spec.in_channels
    rounds = [steps_of_a_round(given, ours, batch, size) for _ in range(1 if given.quick else 5)]
    found = {"batch": batch, "side": size} | {name: min(r[name] for r in rounds) for name in rounds[0]}
    for network in (ours, ("basic-unet", {}, 1)):
        found |= buffers_of(*network, *((2, 64) if given.quick else (8, 256)))
    if "keras_s" not in found:
        print("\ntrain_step: no TensorFlow, so no row for the tutorial's Keras model (give --keras-python PYTHON)")
        return found
    for name, key in (("tutorial", "tutorial_unet_s"), ("shipped", f"{spec.network}_s")):
        found[f"ratio_{name}"] = found["keras_s"] / found[key]
        found[f"ratio_{name}_by_round"] = " ".join(f"{r['keras_s'] / r[key]:.1f}" for r in rounds)
    return found


def steps_of_a_round(given: argparse.Namespace, ours: tuple, batch: int, size: int) -> dict:
    """Time the networks in short turns, so that a slow minute of the machine affects all of them."""
    from napari_unet_tumour.engine.inference.memory import keeping_buffers

    with keeping_buffers():  # as `train` does
        tutorial = step_of("tutorial-unet", {}, 3, batch, size, 1 if given.quick else 5)
        found = {"tutorial_unet_s": tutorial, f"{ours[0]}_s": step_of(*ours, batch, size, 5)}
    return found | (keras_step(given.keras_python, batch, size) or {})


def step_of(network: str, network_arguments: dict, channels: int, batch: int, size: int, times: int) -> float:
    import torch

    from napari_unet_tumour.engine.training.learner import Learner
    from napari_unet_tumour.models.spec import ModelSpec
    from napari_unet_tumour.settings import TrainSettings

    settings = TrainSettings(network=network, channels=channels, size=size, ema=0.0, device="cpu")
    names = tuple(f"c{n}" for n in range(channels))
    learner = Learner(settings, ModelSpec("step", network, dict(network_arguments), names, size=size), 100)
    x = torch.rand(batch, channels, size, size).contiguous(memory_format=torch.channels_last)
    y = (torch.rand(batch, 1, size, size) > 0.9).float()
    return best(lambda: learner.step(x, y), times)


def buffers_of(network: str, network_arguments: dict, channels: int, batch: int, size: int) -> dict:
    """Time steps with larger batches: with kept buffers, as in `train`, and with glibc's default."""
    from napari_unet_tumour.engine.inference.memory import keeping_buffers

    returned = step_of(network, network_arguments, channels, batch, size, 5)
    with keeping_buffers():
        kept = step_of(network, network_arguments, channels, batch, size, 5)
    found = {"batch": batch, "kept_s": kept, "returned_s": returned, "ratio": returned / kept}
    return {f"buffers_{network}_{name}": value for name, value in found.items()}


KERAS = """
import json, sys, time
import numpy as np, tensorflow as tf
from tensorflow.keras import layers as L
batch, side = int(sys.argv[1]), int(sys.argv[2])
def twice(x, n):
    for _ in range(2):
        x = L.Activation("relu")(L.BatchNormalization()(L.Conv2D(n, 3, padding="same")(x)))
    return x
given = x = L.Input((side, side, 3))
skips = []
for n in (64, 128, 256, 512):
    x = twice(x, n); skips.append(x); x = L.MaxPool2D(2)(x)
x = twice(x, 1024)
for n in (512, 256, 128, 64):
    x = twice(L.Concatenate()([L.Conv2DTranspose(n, 2, strides=2, padding="same")(x), skips.pop()]), n)
net = tf.keras.Model(given, L.Conv2D(1, 1, padding="same", activation="sigmoid")(x))
def dice(a, b):
    a, b = L.Flatten()(a), L.Flatten()(b)
    return 1 - (2 * tf.reduce_sum(a * b) + 1e-15) / (tf.reduce_sum(a) + tf.reduce_sum(b) + 1e-15)
net.compile(loss=dice, optimizer=tf.keras.optimizers.Adam(1e-4))
x, y = np.random.rand(batch, side, side, 3).astype("f4"), (np.random.rand(batch, side, side, 1) > .9).astype("f4")
def timed(f):
    f(); taken = []
    for _ in range(5):
        t = time.perf_counter(); f(); taken.append(time.perf_counter() - t)
    return min(taken)
print(json.dumps({"keras_s": timed(lambda: net.train_on_batch(x, y)), "tensorflow": tf.__version__}))
"""


def keras_step(python: str | None, batch: int, side: int) -> dict | None:
    """Time the tutorial's Keras model in a separate environment; None without one."""
    if python is None:
        return None
    done = subprocess.run([python, "-c", KERAS, str(batch), str(side)], capture_output=True, text=True)
    if done.returncode:
        print(f"\ntrain_step: {python} cannot run the Keras model: {done.stderr.strip().splitlines()[-1]}")
        return None
    return json.loads(done.stdout.strip().splitlines()[-1])


# ---- growth -----------------------------------------------------------------------------------------------------


def part_growth(given: argparse.Namespace, report: dict) -> dict:
    slices, sides = (SLICES[:2], SIDES[:2]) if given.quick else (SLICES, SIDES)
    found = {f"{n} slices of 256 x 256": grown(given, n, 256) for n in slices}
    return found | {f"1 slice of {side} x {side}": grown(given, 1, side) for side in sides}


def grown(given: argparse.Namespace, slices: int, side: int) -> dict:
    words = [sys.executable, __file__, "--model", given.model, "--child", str(slices), str(side)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.strip().splitlines()[-1])


def grow_in_this_process(given: argparse.Namespace) -> dict:
    """Segment a lazy array into a mask on disk; return seconds and memory."""
    import tempfile

    from zarr import create_array

    from napari_unet_tumour import load_model
    from napari_unet_tumour.base.slicing import layout_of
    from napari_unet_tumour.engine.inference.segment import iter_segment_into
    from napari_unet_tumour.settings import SegmentSettings
    from scale import Watch, lazy_stack

    slices, side = given.child
    array = lazy_stack(slices, side)
    with Watch() as watch, tempfile.TemporaryDirectory() as folder:
        model = load_model(given.model)
        chunks = (1, min(side, 768), min(side, 768))
        mask = create_array(folder, shape=array.shape, dtype="u1", chunks=chunks, overwrite=True)
        start = time.perf_counter()
        for _ in iter_segment_into(mask, model, array, layout_of(array.shape), SegmentSettings(device="cpu")):
            pass
        seconds = time.perf_counter() - start
    return {"seconds": seconds, "peak_mb_beyond_data": watch.peak_mb, "megapixels_per_s": array.size / seconds / 1e6}


# ---- a CUDA card ------------------------------------------------------------------------------------------------


def part_gpu(given: argparse.Namespace, report: dict) -> dict:
    import torch

    if not torch.cuda.is_available():
        return {"skipped": "there is no CUDA card here"}
    from napari_unet_tumour import load_model
    from napari_unet_tumour.base.slicing import layout_of
    from napari_unet_tumour.engine.inference.accelerate import accelerated, describe_device, pick_device
    from napari_unet_tumour.engine.inference.segment import segment
    from napari_unet_tumour.settings import SegmentSettings

    model, device = load_model(given.model), pick_device("cuda")
    run, ask = accelerated(model, device), SegmentSettings(device="cuda")
    x = torch.randn(128, model.spec.in_channels, model.spec.size, model.spec.size, device=device)

    def model_only() -> None:
        for _ in range(10):
            run.probability(x, False)
        torch.cuda.synchronize()

    volume, one = (scan(n, 256).astype(np.uint8) for n in (2048, 1))
    brats = scan(155, 240)
    for _ in range(4):  # the third batch of a shape is recorded
        run.probability(x, False)
    whole = best(lambda: segment(model, volume, layout_of(volume.shape), ask), 3)
    single = best(lambda: segment(model, one, layout_of(one.shape), ask), 20)
    volume_s = best(lambda: segment(model, brats, layout_of(brats.shape), ask), 10)
    return {
        "device": describe_device("cuda"), "model_only_slices_per_s": 1280 / best(model_only, 5),
        "end_to_end_slices_per_s": len(volume) / whole, "one_slice_ms": single * 1e3, "scan_155_ms": volume_s * 1e3,
    }  # fmt: skip


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    main()
