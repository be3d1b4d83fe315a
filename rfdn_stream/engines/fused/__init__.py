"""RFDN in kernels of the project's own, for NVIDIA cards: the layers in Triton (`kernels`), the whole network by them
(`network`), and the engine (`engine`)."""
