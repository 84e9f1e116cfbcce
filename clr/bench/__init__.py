"""How fast we train: a training step on a CPU and on a GPU, and what it is compared with."""
