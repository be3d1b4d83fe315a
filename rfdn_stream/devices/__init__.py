"""Where frames are computed: the contract (`base`), the CPU (`cpu`), a card (`cuda`), the ring of slots (`ring`)."""
