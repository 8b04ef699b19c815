"""Which explanation of a model can be believed."""
