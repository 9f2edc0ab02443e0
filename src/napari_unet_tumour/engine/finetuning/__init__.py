"""The parts of fine-tuning: cases, draws, loss, and the guard that never lets a worse model through."""
