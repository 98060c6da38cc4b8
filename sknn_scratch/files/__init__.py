"""Arrays and values in files that run no code when they are read."""
