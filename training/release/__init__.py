"""What a bundle is released with: its calibration and its model card."""
