"""How good a result is: of pictures PSNR and SSIM, of videos VMAF and flicker too, beside plain resizing."""
