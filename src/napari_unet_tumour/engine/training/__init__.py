"""Train a network from folders of images and masks."""
