"""What is wrong with a task: `faults` before anybody trains on it; `kinds`, that its reference answer earns all and its start nothing."""
