"""What every other package may use: numpy and the standard library only."""
