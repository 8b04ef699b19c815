"""Forgeries made from real pictures, each with the exact mask of what was changed.

``blend`` blends a face with itself, ``faceswap`` puts one person's face on another,
``regenerate`` makes parts of a face anew from fewer pixels. All draw from a numpy Generator, and
want OpenCV (extra ``train``).
"""
