"""Codes to planar RGB and back: the numbers (`colour`), and twins that apply them (`reference`, `cpu`, `cuda`)."""
