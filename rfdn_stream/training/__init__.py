"""Training: patches from any folder of images, damaged as real encoders damage them, and the loop."""
