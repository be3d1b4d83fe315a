"""The networks: their blocks, weights, exact inference rewrites, and the catalogue of models."""
