"""Where frames are computed: the contract (`base`), the CPU (`cpu`), the ring of slots (`ring`)."""
