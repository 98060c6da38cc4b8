"""The reference engine: every operation as NumPy says it."""
