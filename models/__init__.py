"""The tiny coder, and what makes it: `python models/make_tiny_coder.py`, from the functions of tiny_tasks.py."""
