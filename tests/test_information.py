"""What a bug report gets: complete, quick, without torch in this process, and without the person's name."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from napari_unet_tumour import __version__, information
from napari_unet_tumour.cli import main
from napari_unet_tumour.models import registry

SECTIONS = ["napari-unet-tumour", "packages", "folders", "models", "napari plugins"]


def test_names_every_package_that_the_product_uses():
    found = information.information(device=False)
    assert found["napari-unet-tumour"]["version"] == __version__
    for name in ("torch", "monai", "napari", "numpy", "dask", "zarr", "nibabel"):
        assert found["packages"][name] == version(name)
    assert any(name in found["packages"] for name in ("PyQt6", "PySide6")), "the Qt binding"
    assert not {"pytest", "ruff", "mypy"} & set(found["packages"]), "of no use in a report"


def test_names_models_and_what_is_wrong_with_them(bright):
    (registry.user_models_dir() / "junk.safetensors").write_bytes(b"junk")
    models = information.information(device=False)["models"]
    assert models["bright"] == registry.find("bright").hash
    assert models["junk"].startswith("unusable: ")


def test_folders_say_whether_they_are_there(bright, tmp_path):
    folders = information.information(device=False)["folders"]
    assert folders["models"] == str(tmp_path / "home" / "models")
    assert folders["corrections"].endswith("(not there yet)")


@pytest.mark.parametrize("inside", ["", "data", "x y/models"])
def test_the_home_folder_is_not_named(bright, monkeypatch, tmp_path, inside):
    monkeypatch.setenv("HOME", str(tmp_path / "jane.doe"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "jane.doe"))
    monkeypatch.setenv(registry.HOME, str(tmp_path / "jane.doe" / inside))
    text = information.as_text(information.information(device=False))
    assert "jane.doe" not in text
    assert f"{Path('~') / inside / 'models'}" in text


def test_a_folder_that_only_begins_like_home_is_written_out(bright, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "a"))
    monkeypatch.setenv("USERPROFILE", str(tmp_path / "a"))
    monkeypatch.setenv(registry.HOME, str(tmp_path / "ab"))
    assert information.information(device=False)["folders"]["models"].startswith(str(tmp_path / "ab"))


def test_the_device_comes_from_a_process_of_its_own():
    assert information.describe_device().startswith(("CPU, ", "NVIDIA", "Apple"))


def test_a_torch_that_does_not_load_is_reported_in_one_line(monkeypatch):
    monkeypatch.setattr(information, "_DESCRIBE", "raise ImportError('libcudart.so is missing')")
    line = information.describe_device()
    assert line == "no network can run: ImportError: libcudart.so is missing"
    monkeypatch.setattr(information, "_DESCRIBE", "import time; time.sleep(60)")
    assert "did not load within" in information.describe_device(seconds=0.5)


def test_the_command_prints_what_the_function_found(bright, capsys):
    assert main(["info", "--quick"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n{section}\n" in f"\n{text}" for section in SECTIONS)
    assert main(["info", "--quick", "--json"]) == 0
    assert set(SECTIONS) <= set(json.loads(capsys.readouterr().out))


def test_quick_loads_nothing_heavy():
    code = (
        "import sys; from napari_unet_tumour.cli import main; main(['info', '--quick'])\n"
        "heavy = {'torch', 'monai', 'napari', 'numpy', 'scipy', 'dask', 'rich'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
