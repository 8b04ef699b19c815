"""Vision-language models: decoding that says less of what is not in the picture."""
