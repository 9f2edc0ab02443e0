#!/usr/bin/env bash
# Three teachers and the shipped network on one GPU, in 12 minutes: train, distil, average, print the table.
#
#   training/gpu.sh DATA OUT [--minutes 12] [--tiny]
#
# DATA is what gpu_pack.py writes: images/, masks/, second/ (a second reader's masks), negatives/, cases.csv and the
# encoder's weights, at most 64 MiB in all, and wheels/ of packages that the machine lacks (MONAI, nibabel); nothing is
# downloaded. PyTorch with CUDA is used as it is installed. Whatever ends the run, the last
# checkpoints are in OUT, and the same command goes on from them. --tiny proves all steps on a CPU, however
# long that takes.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
data=${1:?"give DATA"} out=${2:?"give OUT"}
shift 2
minutes=12 tiny=""
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=$2; shift 2 ;;
        --tiny) tiny=yes minutes=120; shift ;;
        *) echo "unknown option $1: give --minutes N or --tiny" >&2; exit 2 ;;
    esac
done
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYTHONPATH="$here/../src${PYTHONPATH:+:$PYTHONPATH}"
python=${PYTHON:-python3}
if [ -d "$data/wheels" ]; then
    "$python" -m pip install -q --no-index --no-deps --no-compile --upgrade --target "$out/site" "$data"/wheels/*.whl
    export PYTHONPATH="$out/site:$PYTHONPATH"
fi
begin=$(date +%s)
left() { echo $((begin + minutes * 60 - $(date +%s))); }

size=$(du -sm "$data" | cut -f1)
[ "$size" -le 64 ] || { echo "$data is $size MiB, more than the 64 that travel: leave slices out" >&2; exit 1; }
"$python" - "${tiny:-no}" <<'PY'
import sys, torch
if not torch.cuda.is_available() and sys.argv[1] != "yes":
    sys.exit("no GPU is found: use --tiny to prove the steps on a CPU")
print(f"PyTorch {torch.__version__}, {torch.cuda.get_device_name() if torch.cuda.is_available() else 'CPU'}")
PY

# One training within its share of the time; Ctrl-C (timeout's signal) keeps the best so far, and --resume goes on.
train() { # NAME SECONDS ARGUMENTS...
    local name=$1 seconds=$2
    shift 2
    [ "$seconds" -gt 5 ] || { echo "no time is left for $name: run the same command again" >&2; return 0; }
    echo "== $name, at most $seconds s"
    timeout --signal INT --kill-after 20 "$seconds" "$python" -m napari_unet_tumour train \
        "$data/images" "$data/masks" --cases "$data/cases.csv" --second-masks "$data/second" \
        --negatives "$data/negatives" --resume --out "$out/$name.safetensors" "$@" \
        || echo "$name was stopped: what it saved is in $out" >&2
}

student="$here/gpu-student.toml" teacher="$here/gpu-teacher.toml"
if [ -n "$tiny" ]; then
    student="$here/gpu-tiny.toml" teacher="$here/gpu-tiny.toml"
fi
shipped="$here/../src/napari_unet_tumour/models/weights/t1ce-small.safetensors"

encoder=""
[ -n "$tiny" ] || [ ! -f "$data/encoder.safetensors" ] || encoder="$data/encoder.safetensors"
share=$(($(left) / 5))
teachers=""
for seed in 1 2 3; do
    train "teacher$seed" "$share" --settings "$teacher" --seed "$seed" ${encoder:+--init-weights "$encoder"}
    [ ! -f "$out/teacher$seed.safetensors" ] || teachers="$teachers${teachers:+,}$out/teacher$seed.safetensors"
done
[ -n "$teachers" ] || { echo "no teacher was saved: give more --minutes" >&2; exit 1; }
start=$shipped
[ -z "$tiny" ] || start=""
train student $(($(left) - 60)) --settings "$student" --distill-from "$teachers" ${start:+--init-weights "$start"}

echo "== scores of the val part, from each training's report"
"$python" - "$out" <<'PY'
import json, sys
from pathlib import Path

from napari_unet_tumour.models.spec import read_spec

out = Path(sys.argv[1])
print(f"{'':12} {'Dice':>6} {'median':>7} {'MiB':>5}  passes")
for path in sorted(out.glob("*.safetensors")):
    card = path.with_name(f"{path.stem}.training") / "run.json"
    scores = json.loads(card.read_text())["scores"] if card.exists() else read_spec(path).scores
    log = path.with_name(f"{path.stem}.training") / "log.csv"
    passes = len(log.read_text().splitlines()) - 1 if log.exists() else 0
    dice, median = (scores.get(name) for name in ("dice_mean", "dice_median"))
    dice = scores.get("val_dice") if dice is None else dice
    said = [f"{value:.3f}" if value is not None else "-" for value in (dice, median)]
    print(f"{path.stem:12} {said[0]:>6} {said[1]:>7} {path.stat().st_size / 2**20:>5.1f}  {passes}")
    if path.stat().st_size > 16 << 20:
        sys.exit(f"{path.name} is larger than 16 MiB: it cannot be brought back")
PY
# Checkpoints stay for another run; those over 16 MiB cannot be brought back in one file.
find "$out" -name checkpoint.pt -size +16M -exec sh -c 'split -b 15m "$1" "$1.part-"' _ {} \;
echo "== done with $(left) s left: next training/components.py for the new network, then average.py with the one before"
