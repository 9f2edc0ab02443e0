"""Train the shipped model: Cheng train persons, tumour-free twins, tumour-free slices of two btp patients.

python training/first_model.py --data DIR --out FIRST [--resume]
python training/first_model.py --data DIR --out SECOND --polish FIRST/checkpoint.pt [--resume]
"""

from __future__ import annotations

import argparse
import csv
import os
import time
from pathlib import Path

import numpy as np
import torch
from monai.networks.nets import DynUNet
from PIL import Image
from torch.nn import functional as F

from napari_unet_tumour.engine.normalise import robust_zscore
from napari_unet_tumour.engine.training.augment import augment
from napari_unet_tumour.engine.training.twins import thumb, twin

FILTERS = (16, 32, 64, 128, 192, 256)
STAGES = ((128, 16, 20), (192, 12, 8), (256, 10, 7))  # side in pixels, batch, passes
POLISH = ((256, 10, 12.3),)  # the second round, from the averaged weights of the first, with the dev persons too
NEGATIVE_PATIENTS = ("01", "02")
DEV_EVERY = 11  # every 11th train person is kept for choices (threshold, smallest object)


def network(deep: int = 0) -> DynUNet:
    n = len(FILTERS)
    return DynUNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        kernel_size=[3] * n,
        strides=[1] + [2] * (n - 1),
        upsample_kernel_size=[2] * (n - 1),
        filters=list(FILTERS),
        norm_name="batch",
        deep_supervision=deep > 0,
        deep_supr_num=max(deep, 1),
    )


def read(data: Path, everyone: bool = False) -> tuple[list[dict[str, str]], np.ndarray, np.ndarray]:
    with (data / "cheng256/cases.csv").open() as f:
        rows = [r for r in csv.DictReader(f) if r["split"] == "train"]
    dev = set(sorted({r["person"] for r in rows})[::DEV_EVERY])
    rows = [r for r in rows if everyone or r["person"] not in dev]
    images = np.stack([np.asarray(Image.open(data / "cheng256/images" / r["file"])) for r in rows])
    masks = np.stack([np.asarray(Image.open(data / "cheng256/masks" / r["file"])) for r in rows])
    return rows, images, (masks > 0).astype(np.uint8)


def twins(rows: list[dict[str, str]], images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    persons = np.array([r["person"] for r in rows])
    thumbs = np.stack([thumb(i) for i in images])
    made = [twin(i, m, images, thumbs, masks, persons != p) for i, m, p in zip(images, masks, persons, strict=False)]
    return np.stack([t for t in made if t is not None])


def btp_negatives(data: Path) -> np.ndarray:
    import nibabel as nib

    found = []
    for patient in NEGATIVE_PATIENTS:
        for date in ("Pre", "Post"):
            scan = np.asarray(nib.load(data / f"btp/{patient}/{date}_Scan_T1.nii.gz").dataobj, np.float32)
            mask = np.asarray(nib.load(data / f"btp/{patient}/{date}_Mask.nii.gz").dataobj) > 0
            for z in range(scan.shape[2]):
                if scan[..., z].max() > scan[..., z].min() and not mask[..., z].any():
                    plane = np.rot90(scan[..., z])
                    found.append((plane - plane.min()) / np.ptp(plane) * 255)
    return np.stack(found).astype(np.uint8)


def loss_of(outputs: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    total = torch.zeros(())
    for weight, logits in zip((1.0, 0.5, 0.25), outputs.float().unbind(1), strict=False):
        p = torch.sigmoid(logits)
        dims = (1, 2, 3)
        inter, size = (p * truth).sum(dims), p.sum(dims) + truth.sum(dims)
        slice_dice = 1 - (2 * inter + 50) / (size + 50)
        batch_dice = 1 - (2 * inter.sum() + 1) / (size.sum() + 1)
        bce = F.binary_cross_entropy_with_logits(logits, truth)
        total = total + weight * (bce + 0.5 * slice_dice.mean() + 0.5 * batch_dice)
    return total / 1.75


def main() -> None:
    ask = argparse.ArgumentParser()
    ask.add_argument("--data", type=Path, required=True)
    ask.add_argument("--out", type=Path, required=True)
    ask.add_argument("--resume", action="store_true")
    ask.add_argument("--polish", type=Path, help="final checkpoint of the first round: do the second")
    ask.add_argument("--steps", type=int, default=0, help="stop early (a trial)")
    a = ask.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    rng = torch.Generator().manual_seed(0)
    rows, images, masks = read(a.data, everyone=a.polish is not None)
    free = np.concatenate([twins(rows, images, masks)])
    btp = btp_negatives(a.data)
    print(f"{len(images)} slices, {len(free)} twins, {len(btp)} btp negatives", flush=True)
    images_t, masks_t = torch.from_numpy(images), torch.from_numpy(masks)
    free_t, btp_t = torch.from_numpy(free), torch.from_numpy(np.ascontiguousarray(btp))

    net = network(deep=2).to(memory_format=torch.channels_last)
    mean = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    peak, stages = (1.5e-3, POLISH) if a.polish else (2e-3, STAGES)
    optimiser = torch.optim.AdamW(net.parameters(), lr=peak, weight_decay=0.02)
    plan = [(side, batch) for side, batch, passes in stages for _ in range(int(passes * len(images)) // batch)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, total_steps=len(plan) + 1, pct_start=0.1)
    if a.polish:
        averaged = torch.load(a.polish, weights_only=True)["mean"]
        net.load_state_dict({k.removeprefix("module."): v for k, v in averaged.items() if k.startswith("module.")})
        mean.module.load_state_dict(net.state_dict())
    start, checkpoint = 0, a.out / "checkpoint.pt"
    if a.resume and checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        net.load_state_dict(saved["net"])
        mean.load_state_dict(saved["mean"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        rng.set_state(saved["rng"])
        start = saved["step"]

    log, clock, running = (a.out / "log.csv").open("a"), time.time(), []
    for step in range(start, a.steps or len(plan)):
        side, batch = plan[step]
        n_free, n_btp = max(1, batch // (5 if a.polish else 6)), max(1, batch // 12)

        def pick(pool, n):
            return pool[torch.randint(len(pool), (n,), generator=rng)]

        where = torch.randint(len(images_t), (batch - n_free - n_btp,), generator=rng)
        x = torch.cat([images_t[where], pick(free_t, n_free), pick(btp_t, n_btp)])[:, None].float() / 255
        y = torch.zeros_like(x)
        y[: len(where), 0] = masks_t[where].float()
        x, y = augment(x, y, side, rng)
        x = robust_zscore(x).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            out = net(x)
        loss = loss_of(out, y)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        mean.update_parameters(net)
        running.append(float(loss.detach()))
        if (step + 1) % 50 == 0:
            line = f"{step + 1},{len(plan)},{side},{np.mean(running):.4f},{(time.time() - clock) / len(running):.3f}"
            log.write(line + "\n")
            log.flush()
            print(line, flush=True)
            running, clock = [], time.time()
        if (step + 1) % 250 == 0 or step + 1 == len(plan):
            torch.save(
                {
                    "net": net.state_dict(),
                    "mean": mean.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "rng": rng.get_state(),
                    "step": step + 1,
                },
                checkpoint.with_suffix(".part"),
            )
            os.replace(checkpoint.with_suffix(".part"), checkpoint)


if __name__ == "__main__":
    main()
