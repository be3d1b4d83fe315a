"""What runs the network: the contract (`base`), torch (`torch_engine`; `graph` and `compiled` on a card), tiles; and
our own code, for CPUs (`winograd`) and for cards (`fused`)."""
