"""The ready answer for a table: an encoder, and ensembles that need no preparation and no tuning."""
