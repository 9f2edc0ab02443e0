"""Prediction: from planes to a probability."""
