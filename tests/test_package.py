"""What is installed: the wheel, the editable install and the link at the top of the repository agree."""

import subprocess
import sys
import zipfile
from importlib.metadata import distribution
from pathlib import Path

import pytest
from npe2 import PluginManifest
from npe2.manifest.utils import import_python_name

import napari_unet_tumour

REPOSITORY = Path(__file__).parents[1]
MANIFEST = Path(napari_unet_tumour.__file__).parent / "napari.yaml"
MAX_MODEL_BYTES = 10_000_000


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    pytest.importorskip("hatchling")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(REPOSITORY)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return zipfile.ZipFile(next(out.glob("*.whl")))


def test_wheel_editable_install_and_link_hold_the_same_manifest(wheel: zipfile.ZipFile) -> None:
    link = REPOSITORY / "napari.yaml"
    assert link.is_symlink()
    assert link.resolve() == MANIFEST.resolve()
    assert wheel.read("napari_unet_tumour/napari.yaml") == MANIFEST.read_bytes()
    entries = distribution("napari-unet-tumour").entry_points.select(group="napari.manifest")
    assert [e.value for e in entries] == ["napari_unet_tumour:napari.yaml"]


def test_wheel_contains_model_and_type_marker(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    assert "napari_unet_tumour/py.typed" in names
    models = [n for n in names if n.startswith("napari_unet_tumour/models/weights/") and n.endswith(".safetensors")]
    assert models
    assert all(wheel.getinfo(n).file_size <= MAX_MODEL_BYTES for n in models)
    assert any(n.startswith("napari_unet_tumour/models/weights/") and n.endswith(".md") for n in names), (
        "the model card"
    )
    assert not [n for n in names if n.startswith(("tests", "shared"))]


def test_every_command_of_the_manifest_can_be_imported() -> None:
    manifest = PluginManifest.from_file(MANIFEST)
    assert manifest.contributions.commands
    for command in manifest.contributions.commands:
        assert command.python_name
        assert callable(import_python_name(command.python_name))


def test_no_qt_binding_is_a_dependency() -> None:
    needs = [r for r in distribution("napari-unet-tumour").requires or [] if "extra ==" not in r]
    assert not [r for r in needs if "qt" in r.lower() and not r.lower().startswith("qtpy")]
    assert not [r for r in needs if r.lower().startswith("pyside")]
