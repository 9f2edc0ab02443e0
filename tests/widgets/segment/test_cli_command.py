import shlex
from pathlib import Path

import pytest

from napari_unet_tumour import cli
from napari_unet_tumour.base.slicing import layout_of
from napari_unet_tumour.cli._options import settings_of
from napari_unet_tumour.models import registry
from napari_unet_tumour.settings import SegmentSettings
from napari_unet_tumour.widgets.segment.cli_command import command_for

VOLUME = layout_of((24, 64, 64))


@pytest.fixture
def entry(home):
    return registry.find("known")


@pytest.mark.parametrize(
    "settings",
    [SegmentSettings(), SegmentSettings(0.37, True, 20, True, "cpu"), SegmentSettings(threshold=0.05, device="cuda")],
    ids=str,
)
def test_the_command_line_understands_it_as_the_same_run(entry, settings):
    text = command_for({"": "/data/my scan's.nii.gz"}, entry, settings, VOLUME, "tls://box:8786")
    args = cli.parser().parse_args(shlex.split(text)[1:])
    assert [str(scan) for scan in args.scans] == ["/data/my scan's.nii.gz"]
    assert settings_of(args, entry.spec) == settings
    assert registry.find(args.model) == entry
    assert args.scheduler == "tls://box:8786"


def test_defaults_are_not_spelled_out(entry):
    text = command_for({"": "a.png"}, entry, SegmentSettings(), layout_of((64, 64)))
    assert text == "napari-unet-tumour segment a.png --model known"


def test_the_slice_axis_of_a_volume_is_always_named(entry):
    assert command_for({"": "a"}, entry, SegmentSettings(), VOLUME).endswith("--axis 0")
    rolled = layout_of((24, 64, 64), rows=0, columns=2)
    assert command_for({"": "a"}, entry, SegmentSettings(), rolled).endswith("--axis 1")


def test_a_model_off_the_shelf_is_named_by_its_file(models: Path):
    path = models / "four.safetensors"
    assert str(path) in command_for({"": ""}, registry.find(path), SegmentSettings(), VOLUME)
    assert " SCAN " in command_for({"": ""}, registry.find(path), SegmentSettings(), VOLUME)


def test_several_channels_are_named_one_by_one(models: Path):
    entry = registry.find(models / "four.safetensors")
    files = {"T1": "/data/my t1.nii", "FLAIR": ""}
    text = command_for(files, entry, SegmentSettings(), VOLUME.with_channels(4))
    args = cli.parser().parse_args(shlex.split(text)[1:])
    assert args.scans == []
    assert args.channels == [[("T1", "/data/my t1.nii"), ("FLAIR", "SCAN")]]
    assert args.axis == 0
