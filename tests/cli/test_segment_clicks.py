import numpy as np
import pytest
import tifffile

from napari_unet_tumour.cli import main


@pytest.fixture
def scan(tmp_path, bright):
    """A stack of two slices with a grey piece in the second, which the network does not mark."""
    image = np.random.default_rng(0).integers(0, 60, (2, 64, 64)).astype(np.uint8)
    image[1, 30:50, 20:44] = np.random.default_rng(1).integers(105, 120, (20, 24))
    path = tmp_path / "scan.tif"
    tifffile.imwrite(path, image)
    return path


def run(scan, text, *more):
    clicks = scan.parent / "clicks.csv"
    clicks.write_text(text)
    out = scan.parent / "out"
    code = main(["segment", str(scan), "--model", "bright", "--clicks", str(clicks), "--out", str(out), *more])
    written = out / "scan_mask.tif"
    return code, tifffile.imread(written) if written.exists() else None


def test_clicks_from_a_file(scan, capsys):
    code, mask = run(scan, "z,y,x,sign\n1,40,32,1\n")
    assert code == 0
    assert (mask[1, 32:48, 22:42] > 0).mean() > 0.9
    assert not mask[0].any()
    assert "takes no clicks: grey values and distances answer them" in capsys.readouterr().err


def test_they_do_not_need_local_workers(scan):
    code, mask = run(scan, "z,y,x,sign\n1,40,32,1\n", "--workers", "2")
    assert code == 0
    assert mask[1, 40, 32]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("z,y,x,sign\n1,400,32,1\n", "clicks.csv line 2 lies at 1, 400, 32, outside the scan of 2 x 64 x 64 pixels"),
        ("z,y,x\n1,40,32\n", "clicks.csv has no column sign"),
        ("z,y,x,sign,label\n1,40,32,1,liver\n", "label 'liver'"),
    ],
)
def test_bad_clicks_are_one_line_and_write_nothing(scan, capsys, text, words):
    code, mask = run(scan, text)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert code == 1
    assert len(said) == 1
    assert words in said[0]
    assert mask is None


def test_outline_asks_for_clicks_and_clicks_for_one_scan(scan, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["segment", str(scan), "--model", "bright", "--outline"])
    assert caught.value.code == 2
    other = scan.with_name("other.tif")
    other.write_bytes(scan.read_bytes())
    with pytest.raises(SystemExit):
        main(["segment", str(scan), str(other), "--model", "bright", "--clicks", "clicks.csv"])
    assert "--clicks is for one scan" in capsys.readouterr().err
