"""vLLM's log-probs against the trained model's: the importance ratio that corrects the loss, and how far apart they are.

TRL 1.16 gets the trained model's log-probs with a forward pass of its own, before training. When nothing is learned between that pass
and the training forward, both give the same numbers, and the ratio can be had from the latter (trl/trainer/grpo_trainer.py,
`_generate_and_score_completions`; the four modes are those of `vllm_importance_sampling_mode`).
"""

import math


def importance_ratio(logps, sampling_logps, mask, mode: str, clip_min: float | None, clip_max: float | None):
    """exp(log pi_trained - log pi_sampled), truncated to [clip_min, clip_max] or 0 outside of it, as TRL 1.16 computes it.

    logps, sampling_logps, mask: (B, T), natural logarithms; sampling_logps is NaN where vLLM gave none (ratio 1).
    mode: token_truncate, token_mask (result (B, T)), sequence_truncate, sequence_mask (result (B, 1), of the whole sequence).
    """
    import torch

    level, _, how = mode.partition("_")
    difference = torch.nan_to_num((logps - sampling_logps) * mask, nan=0.0)
    ratio = torch.exp(difference.sum(dim=-1, keepdim=True) if level == "sequence" else difference)
    if how == "truncate":
        return torch.clamp(ratio, min=clip_min, max=clip_max)
    outside = (ratio < (-math.inf if clip_min is None else clip_min)) | (ratio > (math.inf if clip_max is None else clip_max))
    return ratio.masked_fill(outside, 0.0)


def of_what_was_sampled(ratio, mask):
    """The ratios, as `importance_ratio` gives them, of sequences, or of the tokens in `mask` (B, T): padding has none."""
    return ratio[mask.bool()] if ratio.shape == mask.shape else ratio.flatten()


class Mismatch:
    """What the ratios of a batch were, micro-batch by micro-batch; `summary` has TRL's names for it."""

    def __init__(self):
        self.differences, self.ratios = [], []

    def add(self, logps, sampling_logps, mask, ratio) -> None:
        """One micro-batch: tensors as `importance_ratio` takes and gives them."""
        difference = (logps - sampling_logps).abs()[mask.bool()]
        self.differences.append(difference[~difference.isnan()])
        self.ratios.append(of_what_was_sampled(ratio, mask))

    def summary(self, gather, is_masked: bool) -> dict[str, float]:
        """Metrics over all processes (`gather` is the accelerator's); `masked_share`, of rows or tokens, where the mode masks."""
        import torch

        ratio, difference = torch.cat(self.ratios), torch.cat(self.differences)
        if not len(ratio):  # no row is trained on
            ratio = ratio.new_ones(1)
        if not len(difference):
            difference = ratio.new_zeros(1)
        found = {
            "sampling_logp_difference/mean": gather(difference.mean()).mean(),
            "sampling_logp_difference/max": gather(difference.max()).max(),
            "importance_sampling_ratio/min": gather(ratio.min()).min(),
            "importance_sampling_ratio/mean": gather(ratio.mean()).mean(),
            "importance_sampling_ratio/max": gather(ratio.max()).max(),
        }
        if is_masked:
            found["masked_share"] = gather((ratio == 0).float().mean()).mean()
        return {f"sampling/{name}": value.item() for name, value in found.items()}
