"""Pack the data for gpu.sh: slices, both readers' masks, tumour-free slices, the encoder's initial weights.

    python training/gpu_pack.py CHENG SECOND NEGATIVES OUT [--encoder FILE.pth] [--few N]

CHENG holds images/, masks/ and cases.csv, SECOND the folders train/masks and val/masks. Images become JPEG, masks
PNG, the encoder's weights half precision: all of it is to stay under 64 MiB. Packages that the machine lacks go as
wheels into OUT/wheels by hand (`pip download --no-deps`).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import safetensors.torch
import torch
from PIL import Image

QUALITY = 90


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("cheng", "second", "negatives", "out"):
        ask.add_argument(name, type=Path)
    ask.add_argument("--encoder", type=Path, help="ImageNet weights of the teachers' encoder (.pth)")
    ask.add_argument("--few", type=int, default=1, metavar="N", help="only every N-th slice")
    given = ask.parse_args()
    with (given.cheng / "cases.csv").open() as file:
        rows = list(csv.DictReader(file))[:: given.few]
    for kind in ("images", "masks", "second", "negatives"):
        (given.out / kind).mkdir(parents=True, exist_ok=True)
    for row in rows:
        pack(given.cheng, given.second / row["split"] / "masks" / row["file"], row["file"], given.out)
    for path in sorted(given.negatives.glob("*.png"))[:: given.few]:
        grey(path).save(given.out / "negatives" / f"{path.stem}.jpg", quality=QUALITY)
    with (given.out / "cases.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    if given.encoder:
        state = torch.load(given.encoder, map_location="cpu", weights_only=True)
        half = {name: t.half().contiguous() if t.is_floating_point() else t for name, t in state.items()}
        safetensors.torch.save_file(half, given.out / "encoder.safetensors")
    size = sum(path.stat().st_size for path in given.out.rglob("*") if path.is_file())
    print(f"{len(rows)} slices, {size / 2**20:.1f} MiB in {given.out}")


def pack(cheng: Path, second: Path, name: str, out: Path) -> None:
    stem = Path(name).stem
    grey(cheng / "images" / name).save(out / "images" / f"{stem}.jpg", quality=QUALITY)
    grey(cheng / "masks" / name).save(out / "masks" / f"{stem}.png", optimize=True)
    if second.exists():
        grey(second).save(out / "second" / f"{stem}.png", optimize=True)


def grey(path: Path) -> Image.Image:
    return Image.open(path).convert("L")


if __name__ == "__main__":
    main()
