"""Objects rebuilt from artifacts: networks, fitted encoders, whole arms."""
