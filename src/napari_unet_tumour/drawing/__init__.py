"""Which pixels under a brush it paints: those of a range of grey values, or those up to the edges of the image."""
