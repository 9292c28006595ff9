"""How alike tasks and their solutions are, among each other and with other prompt sets."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass

from judge.syntax import parse_any_length, text_of, tokens_of
from tasks import ngrams, signature_prompt

# Near duplicates. Prompts of different tasks share few runs of three words besides "write a rust function": at most 15 % of
# them in this bank. Solutions are short and full of idioms: up to 61 % between different tasks, 68 % and more where two
# authors had the same idea (three pairs, of which one task each was dropped).
PROMPT_NGRAM, PROMPT_SIMILARITY = 3, 0.25
SOLUTION_NGRAM, SOLUTION_SIMILARITY = 5, 0.65
MIN_SOLUTION_NGRAMS = 12  # one-liners agree by chance
# Overlap with other prompt sets: a run of eight words is rarely shared by chance (GPT-3 and later used 8 to 13 words);
# a quarter of the shorter text being such runs is copying.
OVERLAP_NGRAM, OVERLAP_SHARE = 8, 0.25
NEAREST_SHOWN = 20


def words_of(text: str) -> list[str]:
    """Words and numbers in lower case; names fall apart at their underscores."""
    return re.findall(r"[^\W_]+", text.lower())


def solution_tokens(source: str) -> list[str]:
    """Tokens of a program without comments, plain names (variables, functions) all alike; methods, types and literals stay."""
    names = ("identifier", "shorthand_field_identifier")
    return ["name" if token.type in names else text_of(token) for token in tokens_of(parse_any_length(source))]


def plain_code(text: str) -> str:
    """Text without what does not matter to a caller: layout, `mut` of a parameter, paths of std's names, trailing commas."""
    text = re.sub(r"([(,])\s*mut\s+(?=\w+\s*:)", r"\1", text)
    text = re.sub(r"\b(?:[a-z_]\w*::)+(?=\w)", "", text)
    return re.sub(r",(?=[)}>]|$)", "", re.sub(r"\s+", "", text))


def shared_counts(left: Sequence[Set], right: Sequence[Set]) -> Iterator[tuple[int, int, int]]:
    """(index in left, index in right, shared n-grams) of every pair that shares any."""
    holders: dict[object, list[int]] = defaultdict(list)
    for j, grams in enumerate(right):
        for gram in grams:
            holders[gram].append(j)
    for i, grams in enumerate(left):
        for j, count in Counter(j for gram in grams for j in holders.get(gram, ())).items():
            yield i, j, count


@dataclass(frozen=True)
class Likeness:
    """Two texts and how alike they are, in [0, 1]."""

    one: str
    other: str
    value: float


def near_duplicates(keys: Sequence[str], grams: Sequence[Set], at_least: float) -> list[Likeness]:
    """Pairs whose n-grams agree (Jaccard: shared / all) to at least that share, the most alike first."""
    found = []
    for i, j, shared in shared_counts(grams, grams):
        value = shared / (len(grams[i]) + len(grams[j]) - shared)
        if i < j and value >= at_least:
            found.append(Likeness(keys[i], keys[j], value))
    return sorted(found, key=lambda pair: -pair.value)


def duplicate_problems(tasks: Sequence[Mapping], solutions: Mapping[str, str]) -> list[str]:
    """Ids, function names, prompts and solutions that appear twice. `tasks` have `file`, where each was read."""
    problems = []
    by_id, by_name = defaultdict(list), defaultdict(list)
    for task in tasks:
        by_id[task["task_id"]].append(task["file"])
        by_name[task["entry_point"]].append(task["task_id"])
    problems += [f"{key}: in {' and in '.join(files)}: an id belongs to one split" for key, files in by_id.items() if len(files) > 1]
    for name, ids in by_name.items():
        if len(set(ids)) > 1:
            problems.append(f"{', '.join(sorted(set(ids)))}: all ask for a function named {name}")
    unique = list({task["task_id"]: task for task in tasks}.values())
    keys = [task["task_id"] for task in unique]
    prompts = [ngrams(task["prompt"], PROMPT_NGRAM, words_of) for task in unique]
    for pair in near_duplicates(keys, prompts, PROMPT_SIMILARITY):
        problems.append(f"{pair.one}, {pair.other}: prompts {pair.value:.0%} alike (limit {PROMPT_SIMILARITY:.0%}): drop one")
    for pair in similar_solutions(keys, solutions, SOLUTION_SIMILARITY):
        problems.append(f"{pair.one}, {pair.other}: solutions {pair.value:.0%} alike (limit {SOLUTION_SIMILARITY:.0%}): drop one")
    return problems


def similar_solutions(keys: Sequence[str], solutions: Mapping[str, str], at_least: float) -> list[Likeness]:
    """Pairs of references alike but for names; those below MIN_SOLUTION_NGRAMS n-grams are left out."""
    grams = {key: ngrams(solutions[key], SOLUTION_NGRAM, solution_tokens) for key in keys if key in solutions}
    grams = {key: found for key, found in grams.items() if len(found) >= MIN_SOLUTION_NGRAMS}
    return near_duplicates(list(grams), list(grams.values()), at_least)


def overlap_with(tasks: Sequence[Mapping], texts: Sequence[Mapping], file: str) -> tuple[dict, list[str]]:
    """Prompts in both wordings against every prompt of another set's rows -> (its part of the report, problems). `file`: its name.

    The report has ids and numbers only: how many tasks share a run of OVERLAP_NGRAM words with some text, the largest share of such runs
    by task (of the shorter text), (task, text) that ask for a function of one name, and each task's nearest text by content words.
    A problem is a task that takes its wording from a text.
    """
    ours = [_wordings(task) for task in tasks]
    theirs = [ngrams(_unframed(text["prompt"]), OVERLAP_NGRAM, words_of) for text in texts]
    largest: dict[str, Likeness] = {}
    for i, j, shared in shared_counts(ours, theirs):
        pair = Likeness(tasks[i]["task_id"], texts[j]["task_id"], shared / min(len(ours[i]), len(theirs[j])))
        largest[pair.one] = max(pair, largest.get(pair.one, pair), key=lambda p: p.value)
    shares = sorted(largest.values(), key=lambda pair: -pair.value)
    names = defaultdict(list)
    for text in texts:
        for name in function_names(text):
            names[_plain(name)].append(text["task_id"])
    limit = f"limit {OVERLAP_SHARE:.0%} of the shorter text's runs of {OVERLAP_NGRAM} words"
    row = {
        "file": file,
        "texts": len(texts),
        "tasks_sharing_a_run": len(shares),
        "run_words": OVERLAP_NGRAM,
        "largest_share": round(shares[0].value, 3) if shares else 0.0,
        "shares": [asdict(pair) for pair in shares[:NEAREST_SHOWN]],
        "equal_names": [[task["task_id"], other] for task in tasks for other in dict.fromkeys(names[_plain(task["entry_point"])])],
        "nearest": [asdict(pair) for pair in nearest_texts(tasks, texts)[:NEAREST_SHOWN]],
    }
    return row, [
        f"{pair.one}: shares {pair.value:.0%} of its wording with {pair.other} of {file} ({limit}): drop or reword it"
        for pair in shares
        if pair.value > OVERLAP_SHARE
    ]


def _wordings(task: Mapping) -> set[str]:
    both = (task["prompt"], task.get("signature_prompt") or "")
    return set().union(*(ngrams(_unframed(text), OVERLAP_NGRAM, words_of) for text in both))


def _unframed(prompt: str) -> str:
    """A prompt without the sentences that `tasks.signature_prompt` puts around every signature."""
    for example in ("fn", "struct A;\nfn"):
        before, after = signature_prompt(example).split(f"{example} {{")
        prompt = prompt.removeprefix(before).removesuffix(after)
    return prompt


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def function_names(text: Mapping) -> list[str]:
    """Names of the functions that another set's row asks for: its entry point, or what its Python solution defines."""
    code = text.get("code") or text.get("canonical_solution") or ""
    return [text["entry_point"]] if text.get("entry_point") else re.findall(r"^def\s+(\w+)", code if isinstance(code, str) else "", re.M)


def nearest_texts(tasks: Sequence[Mapping], texts: Sequence[Mapping]) -> tuple[Likeness, ...]:
    """Each task's nearest text by the cosine of its words, a word weighing log(texts / texts with it)."""
    ours, theirs = ([Counter(words_of(_unframed(row["prompt"]))) for row in rows] for rows in (tasks, texts))
    spread = Counter(word for words in (*ours, *theirs) for word in words)
    weight = {word: math.log((len(ours) + len(theirs)) / count) for word, count in spread.items()}
    holders: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for j, words in enumerate(theirs):
        for word, value in _unit_vector(words, weight).items():
            holders[word].append((j, value))
    nearest = []
    for task, words in zip(tasks, ours):
        cosine: dict[int, float] = defaultdict(float)
        for word, value in _unit_vector(words, weight).items():
            for j, other in holders.get(word, ()):
                cosine[j] += value * other
        if cosine:
            best = max(cosine, key=cosine.__getitem__)
            nearest.append(Likeness(task["task_id"], texts[best]["task_id"], round(cosine[best], 3)))
    return tuple(sorted(nearest, key=lambda pair: -pair.value))


def _unit_vector(words: Counter[str], weight: Mapping[str, float]) -> dict[str, float]:
    vector = {word: (1 + math.log(count)) * weight[word] for word, count in words.items()}
    length = math.sqrt(sum(value * value for value in vector.values())) or 1.0
    return {word: value / length for word, value in vector.items()}
