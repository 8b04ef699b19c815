"""Methods whose answer is about a face: one file and one card each."""
