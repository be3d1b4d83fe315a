"""What runs the network: the contract (`base`), torch (`torch_engine`), tiles for memory (`tiling`)."""
