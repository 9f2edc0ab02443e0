from shared_window import make_napari_viewer, window_of_file  # noqa: F401 - the tests of a file share a window
