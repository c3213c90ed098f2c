"""The week: baselines trained anew, the better model crowned, a deletion rehearsed against a real retrain."""

from tru.weekly.steps import finish, measure, promote, rehearse, run_baseline, train

__all__ = ["finish", "measure", "promote", "rehearse", "run_baseline", "train"]
