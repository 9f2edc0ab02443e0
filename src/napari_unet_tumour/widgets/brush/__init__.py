"""What strokes may change: brushes limited by the image, locked labels, reviewed slices."""
