"""Fine-tuning on a table of corrected scans: slices are held out by scan and person."""

import nibabel
import numpy as np
import pytest

from napari_unet_tumour.api.finetune import finetune
from napari_unet_tumour.corrections import FineTuneOutcome


@pytest.fixture
def learnt(monkeypatch):
    """What the engine was given, by scan in order: {slice: held out}."""
    given: dict[str, dict[int, bool]] = {}

    def stand_in(model, corrections, settings, **more):
        for one in corrections:
            given.setdefault(one.scan, {})[one.slice] = one.held_out
        return FineTuneOutcome(b"", 0.0, 0, 0.0)
        yield

    monkeypatch.setattr("napari_unet_tumour.engine.finetuning.finetune.iter_finetune", stand_in)
    return given


def write(folder, name, blob, step=5.0, start=0.0, planes=8):
    """Write a scan and its mask as `name` and `name`_mask, with tumour on every slice."""
    affine = np.diag([-1.0, -1.0, step, 1.0])
    affine[2, 3] = start
    grey = np.stack([blob + n for n in range(planes)]).astype(np.int16) + len(name)
    for suffix, array in (("", grey), ("_mask", (grey > 150).astype(np.uint8))):
        image = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), affine)
        image.header.set_xyzt_units("mm")
        nibabel.save(image, folder / f"{name}{suffix}.nii.gz")


def table(folder, *rows):
    lines = [f"{name}.nii.gz,{name}_mask.nii.gz,{group},{slices}" for name, group, slices in rows]
    (folder / "pairs.csv").write_text("\n".join(["scan,mask,group,slices", *lines]))
    return folder / "pairs.csv"


def test_another_sequence_of_a_person_has_the_same_roles(bright, tmp_path, blob, learnt):
    for name in ("sub-1_T1w", "sub-1_FLAIR", "sub-22_T1w"):
        write(tmp_path, name, blob)
    finetune(table(tmp_path, *((name, "", "2;3;4") for name in ("sub-1_T1w", "sub-1_FLAIR", "sub-22_T1w"))), bright)
    assert [*learnt.values()] == [{2: False, 3: False, 4: True}] * 3
    learnt.clear()
    finetune(table(tmp_path, ("sub-1_T1w", "", "2;3;4"), ("sub-1_FLAIR", "", "4;5;3")), bright)
    assert [*learnt.values()] == [{2: False, 3: False, 4: True}, {3: False, 4: True, 5: False}]


def test_the_table_may_say_who_it_is_and_thin_slices_go_by_place(bright, tmp_path, blob, learnt):
    write(tmp_path, "first", blob)
    write(tmp_path, "thin", blob, step=2.5, planes=16)
    write(tmp_path, "stranger", blob, step=2.5, planes=16)
    finetune(table(tmp_path, *((n, g, "2;3;4" if n == "first" else "4;8;9;10") for n, g in
                               (("first", "p"), ("thin", "p"), ("stranger", "q")))), bright)  # fmt: skip
    assert [*learnt.values()] == [
        {2: False, 3: False, 4: True},
        {4: False, 8: True, 10: False} | {9: True},
        {4: False, 8: False, 9: True, 10: False},
    ]
