"""Networks: the diffusion transformer, the classifier, and the LPIPS embedding."""
