"""How a network learns: the job, the run over epochs, L-BFGS, and what happens between epochs."""
