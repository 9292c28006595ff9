"""What eval.py is made of.

    arguments.py          its flags
    completions.py        completions that already exist: read, checked, joined with their tasks; completion_rows.py: what a row holds
    folders.py            an evaluation's folder, its protocol and files
    grading.py            many completions graded in batches
    metrics.py            rates, pass@k, intervals
    tables.py, parquet.py a summary for people, results for other tools
    cross_results.py      finished results under the tests of their groups
    traced_again.py       a training trace graded again
"""
