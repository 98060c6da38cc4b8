"""The engine that trains on a GPU or another device of PyTorch: the catalogue's formulas, with its tensors."""
