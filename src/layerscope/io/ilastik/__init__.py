"""Files of ilastik: exported pictures (``*_Probabilities.h5`` ...) and projects (``.ilp``).

Everything is read from plain arrays. What ilastik pickled is never opened: a pickle runs code.
"""
