"""The arithmetic of the network. Every engine offers the functions of ``numpy_engine``, with the same signatures."""
