"""How good a result is: PSNR and SSIM, and the resizing that benchmarks are made with."""
