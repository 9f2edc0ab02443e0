"""What stands in a DICOM structured report of lesions (TID 1500): a measurement group per lesion and per label."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_unet_tumour.measure.export import DISCLAIMER

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from napari_unet_tumour.measure.compare import Change, Comparison
    from napari_unet_tumour.measure.report import Report
    from napari_unet_tumour.measure.types import Brightness, MeasuredLesion, Total

PROGRAM = "napari-unet-tumour"
# Our own codes, where the standard has none.
SCHEME = "99NUT"
OWN = {
    "PRODUCT": "Product of long and short axis (RANO)",
    "SLICES": "Number of slices",
    "LESIONS": "Number of lesions",
    "PRODUCTS": "Sum of the five largest products (RANO)",
    "VOLUME-BEFORE": "Volume in the earlier mask",
    "VOLUME-CHANGE": "Change of volume since the earlier mask",
    "PRODUCTS-BEFORE": "Sum of products in the earlier mask",
    "PRODUCTS-CHANGE": "Change of the sum of products since the earlier mask",
    "CATEGORY": "Category of the change (RANO, from the masks alone)",
    "GREY": "Grey value",
}
_PROCEDURES = {
    "MR": ("113091000", "Magnetic resonance imaging"),
    "CT": ("77477000", "Computed tomography"),
}
_UNITS = {
    "mm": ("mm", "mm"),
    "mm2": ("mm2", "square millimeter"),
    "ml": ("ml", "milliliter"),
    "pixels": ("{pixels}", "pixels"),
    "%": ("%", "percent"),
    "": ("1", "no units"),
}


class SRContent:
    """Makes the parts of a document.

    Parameters
    ----------
    report : Report
        The figures.
    modality : str
        Of the scan: "MR", "CT", ...
    comparison : Comparison, optional
        The change since an earlier mask.
    """

    def __init__(self, report: Report, modality: str, comparison: Comparison | None) -> None:
        import highdicom.sr
        from pydicom.sr.codedict import codes

        self._sr: Any = highdicom.sr
        self._codes: Any = codes
        self._report, self._modality, self._comparison = report, modality, comparison

    def document(self, references: Sequence[Any], tracking: Sequence[tuple[str, str]]) -> Any:
        """Return the tree of the document.

        Parameters
        ----------
        references : sequence
            A ReferencedSegment per lesion.
        tracking : sequence of (str, str)
            What names each lesion, for people and as a UID.
        """
        sr, report = self._sr, self._report
        lesions = [self._lesion(*one) for one in zip(report.lesions, references, tracking, strict=True)]
        made = sr.MeasurementReport(
            observation_context=sr.ObservationContext(observer_device_context=self._device()),
            procedure_reported=self._procedure(),
            imaging_measurements=[*lesions, *self._labels()],
        )
        root = made[0]
        for text in self._remarks():
            root.ContentSequence.append(sr.TextContentItem(self._codes.DCM.Comment, text, "CONTAINS"))
        return made

    def _remarks(self) -> Iterator[str]:
        report, change = self._report, self._comparison
        yield DISCLAIMER
        yield f"Scan: {report.scan or '-'}. Mask: {report.mask or '-'}. Program: {PROGRAM} {report.version}."
        yield from report.notes
        if change is not None:
            yield f"Compared with {change.earlier_mask or 'an earlier mask'}. {change.caveat}"
            yield from change.notes

    def _device(self) -> Any:
        from pydicom.uid import generate_uid

        attributes = self._sr.DeviceObserverIdentifyingAttributes(
            uid=generate_uid(entropy_srcs=[PROGRAM]), name=PROGRAM, manufacturer_name=PROGRAM, model_name=PROGRAM
        )
        return self._sr.ObserverContext(self._codes.cid270.Device, attributes)

    def _procedure(self) -> Any:
        value, meaning = _PROCEDURES.get(self._modality, ("363679005", "Imaging procedure"))
        return self._sr.CodedConcept(value, "SCT", meaning)

    def _algorithm(self) -> Any:
        """Return what made the mask: the model where one is known, else a person with this program."""
        report = self._report
        given = [f"model hash: {report.model_hash}"] if report.model_hash else []
        given += [f"program: {PROGRAM} {report.version}", "model: " + (report.model or "not recorded")]
        return self._sr.AlgorithmIdentification(
            name=report.model or PROGRAM, version=report.version, parameters=given, manufacturer=PROGRAM
        )

    def _lesion(self, lesion: MeasuredLesion, reference: Any, tracking: tuple[str, str]) -> Any:
        sct, length, area = self._codes.SCT, self._report.units, self._area
        found = [
            self._number(sct.Volume, lesion.volume, self._report.volume_units),
            self._number(sct.LongAxis, lesion.longest, length),
            self._number(sct.ShortAxis, lesion.perpendicular, length),
            self._number(self._own("PRODUCT"), lesion.product, area),
            self._number(sct.Area, lesion.area, area),
            self._number(self._own("SLICES"), lesion.slices, ""),
            *self._mean(lesion.brightness),
        ]
        return self._sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._sr.TrackingIdentifier(uid=tracking[1], identifier=tracking[0]),
            referenced_segment=reference,
            measurements=found,
            **self._finding(),
        )

    def _labels(self) -> list[Any]:
        """Return a group per label with its totals and what changed; one that says 'none' where nothing is known."""
        report = self._report
        changes = {one.label: one for one in self._comparison.changes} if self._comparison else {}
        if not report.totals and not changes:
            return [self._group("all lesions", [self._number(self._own("LESIONS"), 0, "")])]
        names = {label: one.name for label, one in changes.items()} | {one.label: one.name for one in report.totals}
        totals = {one.label: one for one in report.totals}
        return [self._label(name, totals.get(label), changes.get(label)) for label, name in sorted(names.items())]

    def _label(self, name: str, total: Total | None, change: Change | None) -> Any:
        report, found, said = self._report, [], []
        if total is not None:
            found += [
                self._number(self._own("LESIONS"), total.lesions, ""),
                self._number(self._codes.SCT.Volume, total.volume, report.volume_units),
                self._number(self._own("PRODUCTS"), total.product_sum, self._area),
                *self._mean(total.brightness),
            ]
        if change is not None:
            figures = (
                ("VOLUME-BEFORE", change.volume_before, report.volume_units),
                ("VOLUME-CHANGE", change.volume_change, "%"),
                ("PRODUCTS-BEFORE", change.product_before, self._area),
                ("PRODUCTS-CHANGE", change.product_change, "%"),
            )
            found += [self._number(self._own(code), value, unit) for code, value, unit in figures if value is not None]
            value = self._sr.CodedConcept(change.category.upper().replace(" ", "-")[:16], SCHEME, change.category)
            said = [self._sr.QualitativeEvaluation(self._own("CATEGORY"), value)]
        return self._group(f"all lesions: {name}", found, said)

    def _group(self, name: str, found: list[Any], said: Sequence[Any] = ()) -> Any:
        return self._sr.MeasurementsAndQualitativeEvaluations(
            tracking_identifier=self._sr.TrackingIdentifier(identifier=name),
            measurements=found,
            qualitative_evaluations=list(said) or None,
            **self._finding(),
        )

    def _finding(self) -> dict[str, Any]:
        sct = self._codes.SCT
        return {
            "finding_type": sct.Neoplasm,
            "finding_category": sct.MorphologicallyAbnormalStructure,
            "algorithm_id": self._algorithm(),
        }

    def _mean(self, brightness: Brightness) -> list[Any]:
        if brightness.mean is None:
            return []
        dcm, units = self._codes.DCM, ("[hnsf'U]", "Hounsfield unit")
        names = {"CT": dcm.AttenuationCoefficient, "MR": dcm.MRSignalIntensity}
        unit = units if self._modality == "CT" else _UNITS[""]
        return [
            self._sr.Measurement(
                name=names.get(self._modality, self._own("GREY")),
                value=brightness.mean,
                unit=self._sr.CodedConcept(unit[0], "UCUM", unit[1]),
                derivation=self._codes.SCT.Mean,
            )
        ]

    @property
    def _area(self) -> str:
        return "mm2" if self._report.units == "mm" else self._report.units

    def _number(self, name: Any, value: float, unit: str) -> Any:
        code, meaning = _UNITS[unit]
        return self._sr.Measurement(name=name, value=value, unit=self._sr.CodedConcept(code, "UCUM", meaning))

    def _own(self, code: str) -> Any:
        return self._sr.CodedConcept(code, SCHEME, OWN[code])
