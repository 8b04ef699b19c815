"""Audits of models that one owns, and protection of data that is one's own."""
