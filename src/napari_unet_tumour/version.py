"""The version of the installed package, which comes from the git tag."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("napari-unet-tumour")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
