"""The compiled engine: whole epochs in machine code, made by numba from the formulas of the catalogue."""
