"""How a scan is shown, in numbers: which grey values, which patient directions, how large what is drawn is."""
