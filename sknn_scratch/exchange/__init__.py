"""Fitted models to other libraries and back."""
