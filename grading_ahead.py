"""Completions reach the judge when each is finished, while vLLM still samples the others.

Only a head start: the verdicts are asked for afterwards, as without it, and whatever was not started then is graded then.
Checked against vLLM 0.26, whose LLM.generate calls `llm_engine.step` until every request is finished.
"""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def finished_requests(engine, take: Callable[[list[int], list[int]], object]) -> Iterator[None]:
    """While open, `take(prompt token ids, completion token ids)` is called in a thread for each completion that `engine.step` finishes.

    What `take` raises is dropped: whoever asks for the verdict meets the same error.
    """
    step = engine.step

    def watched_step():
        outputs = step()
        for output in outputs:
            if output.finished:
                for completion in output.outputs:
                    reader.submit(take, list(output.prompt_token_ids), list(completion.token_ids))
        return outputs

    with ThreadPoolExecutor(1, "grading-ahead") as reader:
        engine.step = watched_step
        try:
            yield
        finally:
            engine.step = step
