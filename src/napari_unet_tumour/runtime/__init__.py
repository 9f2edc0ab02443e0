"""Segmenting on a CPU with ONNX Runtime: numpy in, numpy out; neither torch nor MONAI."""
