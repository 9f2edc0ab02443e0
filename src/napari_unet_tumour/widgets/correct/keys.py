"""The keys of the Correct widget."""

NEXT_KEY, TICK_KEY = "N", "R"
