"""The project's own engine for CPUs: Winograd convolutions in int16, in C++ (`src`), and what loads and calls them."""
