"""Methods whose answer is words, or about words: one file and one card each."""
