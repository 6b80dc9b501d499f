"""Choosing and trusting a fit: which rank, does another seed agree, how sure are the numbers."""
