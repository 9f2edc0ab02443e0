"""Export the graphs of the shipped models for ONNX Runtime, so that they run without torch from the first use.

    python scripts/ship_graph.py

To be run whenever a file in src/napari_unet_tumour/models/weights changes; a test says so.
"""

from __future__ import annotations

from napari_unet_tumour.engine.inference.onnx_export import export, export_clicks
from napari_unet_tumour.engine.model import load
from napari_unet_tumour.runtime.graph import SHIPPED, file_name

for old in SHIPPED.glob("*.graph"):
    old.unlink()
for path in sorted(SHIPPED.glob("*.safetensors")):
    model = load(path)
    graphs = [export(model), export_clicks(model)] if model.clicks is not None else [export(model)]
    for graph in graphs:
        if graph is None:
            raise SystemExit(f"the network of {path.name} cannot be exported")
        (SHIPPED / file_name(graph.model)).write_bytes(graph.to_bytes())
        print(path.name, "->", file_name(graph.model))
