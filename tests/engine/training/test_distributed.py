"""Two processes by torchrun train one model."""

import os
import subprocess
import sys

import pytest

from napari_unet_tumour.engine import model
from napari_unet_tumour.engine.training import distributed


def test_alone_nothing_changes():
    import numpy as np
    import torch

    net = torch.nn.Linear(1, 1)
    assert distributed.distribute(net, torch.device("cpu")) is net
    assert distributed.shard_of(np.arange(5)).tolist() == [0, 1, 2, 3, 4]
    assert distributed.broadcast_object("word") == "word"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="torchrun needs libuv there")
def test_two_processes(folder, tmp_path):
    (tmp_path / "s.toml").write_text("size = 64\nbatch = 4\nepochs = 2\n[arguments]\nfilters = [4, 8, 8]\n")
    torchrun = [sys.executable, "-W", "ignore", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words = ["train", folder / "images", folder / "masks", "--cases", folder / "cases.csv"]
    more = ["--settings", tmp_path / "s.toml", "--out", tmp_path / "m.safetensors", "--device", "cpu"]
    command = [*torchrun, "-m", "napari_unet_tumour", *map(str, words + more)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=170)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("m.safetensors (pass 2 of 2)") == 1
    assert model.load(tmp_path / "m.safetensors").spec.scores
