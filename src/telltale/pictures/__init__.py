"""Methods whose answer is about a picture or a document: one file and one card each."""
