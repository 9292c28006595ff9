"""What only eval.py needs: how files of completions are read, and finished results under the tests of their groups."""
