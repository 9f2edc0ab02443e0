"""Two dates of a patient, side by side."""
