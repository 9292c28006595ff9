"""What is wrong with a task.

    faults.py     before anybody trains on it: its tests, and its reference solution where the row holds one
    mutants.py    references with a small mistake, and answers without thought, which its tests should notice
    likeness.py   tasks that are too like each other, or like another prompt set's
    same_tasks.py whose reference passes the tests of another prompt set's tasks
    kinds.py      of kinds fix, fim, patch and next_edit: the reference answer earns everything, the start nothing
"""
