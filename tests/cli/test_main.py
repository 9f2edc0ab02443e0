import subprocess
import sys

import pytest

from napari_unet_tumour import __version__
from napari_unet_tumour.cli import main
from napari_unet_tumour.errors import WorkerError

LIGHT = """
import sys
from napari_unet_tumour.cli import main
try:
    main({words})
except SystemExit:
    pass
heavy = {{"torch", "monai", "napari", "numpy", "dask", "rich"}} & set(sys.modules)
assert not heavy, heavy
"""


@pytest.mark.parametrize("words", [["--help"], ["segment", "--help"], ["models", "list"], ["models", "list", "--json"]])
def test_help_and_the_list_of_models_load_nothing_heavy(words):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(words=words)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["nonsense"],
        ["segment"],
        ["segment", "x.png", "--threshold", "2"],
        ["segment", "x.png", "--threshold", "much"],
        ["segment", "x.png", "--device", "tpu"],
        ["segment", "x.png", "--format", "jpeg"],
        ["evaluate"],
        ["evaluate", "images"],
        ["evaluate", "images", "masks", "--pairs", "pairs.csv"],
        ["models"],
    ],
)
def test_wrong_usage_ends_with_2(words, capsys):
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: napari-unet-tumour" in capsys.readouterr().err


def test_says_its_version(capsys):
    with pytest.raises(SystemExit) as end:
        main(["--version"])
    assert (end.value.code, capsys.readouterr().out.strip()) == (0, f"napari-unet-tumour {__version__}")


def test_every_setting_has_its_flag(capsys):
    with pytest.raises(SystemExit):
        main(["segment", "--help"])
    said = capsys.readouterr().out
    for flag in (
        "--threshold",
        "--flip-tta",
        "--no-flip-tta",
        "--min-object-size",
        "--keep-largest",
        "--device {auto,cpu,cuda,mps}",
    ):
        assert flag in said


@pytest.mark.parametrize(
    ("raised", "code", "line"),
    [
        (WorkerError("the scheduler\ndoes not answer"), 1, "error: the scheduler does not answer\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (MemoryError(), 1, "error: the memory is full: close other programs, or work on smaller scans\n"),
    ],
)
def test_trouble_is_one_line_and_an_exit_code(monkeypatch, capsys, raised, code, line):
    def trouble(*args):
        raise raised

    monkeypatch.setattr("napari_unet_tumour.models.registry.find", trouble)
    assert main(["models", "show"]) == code
    assert capsys.readouterr().err == line


def test_a_reader_that_goes_away_is_no_trouble():
    done = subprocess.run(
        f"{sys.executable} -m napari_unet_tumour models show nope 2>&1 | head -c 5",
        shell=True, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "error"
    assert "Traceback" not in done.stderr
