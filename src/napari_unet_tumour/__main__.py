"""`python -m napari_unet_tumour` is the command line."""

import sys

from napari_unet_tumour.cli import main

if __name__ == "__main__":
    sys.exit(main())
